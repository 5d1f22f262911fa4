//! What the engine streams while it builds, pulls and pushes: JSON objects, one after the other.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;
use reqwest::Response;
use serde::Deserialize;

use super::trace::StatusResponse;

/// The kind of message that carries BuildKit's trace.
const TRACE: &str = "moby.buildkit.trace";
/// Longest message, in bytes: a line of output is part of one.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// One message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    id: Option<String>,
    /// Output of the classic builder.
    pub(super) stream: Option<String>,
    /// What a pull or push does.
    pub(super) status: Option<String>,
    error: Option<String>,
    #[serde(rename = "errorDetail")]
    detail: Option<Detail>,
    aux: Option<serde_json::Value>,
    /// What an answer that is no stream says.
    message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: Option<String>,
}

impl Message {
    /// What went wrong, when this message says so.
    pub(super) fn failure(&self) -> Option<&str> {
        let detail = self.detail.as_ref().and_then(|detail| detail.message.as_deref());
        detail.or(self.error.as_deref()).filter(|text| !text.is_empty())
    }

    /// BuildKit's news, when this message carries them.
    pub(super) fn trace(&self) -> Result<Option<StatusResponse>> {
        let (Some(TRACE), Some(text)) =
            (self.id.as_deref(), self.aux.as_ref().and_then(|aux| aux.as_str()))
        else {
            return Ok(None);
        };
        let bytes = STANDARD.decode(text).context("the engine's trace is not base64")?;
        let trace = StatusResponse::decode(bytes.as_slice());
        Ok(Some(trace.context("the engine's trace is not what BuildKit sends")?))
    }
}

/// The messages of an answer.
pub(super) struct Messages {
    answer: Response,
    buffer: Vec<u8>,
}

impl Messages {
    /// Reads an answer; one that is an error is an error.
    pub(super) async fn of(answer: Response) -> Result<Self> {
        let status = answer.status();
        if status.is_success() {
            return Ok(Self { answer, buffer: Vec::new() });
        }
        let body = answer.text().await.unwrap_or_default();
        let said = serde_json::from_str::<Message>(&body).ok().and_then(|message| message.message);
        Err(anyhow::anyhow!("{}", said.unwrap_or_else(|| format!("the engine answers {status}"))))
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(parse(&line)?));
                }
                continue;
            }
            match self.answer.chunk().await.context("the engine broke off")? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => return Ok(Some(parse(&std::mem::take(&mut self.buffer))?)),
            }
            anyhow::ensure!(
                self.buffer.len() <= MAX_BYTES,
                "the engine sends a message without end"
            );
        }
    }
}

fn parse(line: &[u8]) -> Result<Message> {
    serde_json::from_slice(line).context("the engine sent something that is no message")
}

#[cfg(test)]
mod tests {
    use super::super::trace::Vertex;
    use super::*;

    #[test]
    fn messages() {
        let both =
            parse(br#"{"errorDetail":{"code":1,"message":"detail"},"error":"short"}"#).unwrap();
        assert_eq!(both.failure(), Some("detail"));
        assert_eq!(parse(br#"{"error":"short"}"#).unwrap().failure(), Some("short"));
        assert!(
            parse(br#"{"status":"Pushed","progressDetail":{},"id":"a1"}"#)
                .unwrap()
                .failure()
                .is_none()
        );
        assert!(
            parse(br#"{"id":"moby.image.id","aux":{"ID":"sha256:1"}}"#)
                .unwrap()
                .trace()
                .unwrap()
                .is_none()
        );
        assert!(parse(b"<html>").is_err());
    }

    #[test]
    fn traces_are_decoded() {
        let vertex = Vertex { name: "[1/2] FROM x".to_owned(), cached: true, ..Default::default() };
        let sent = StatusResponse { vertexes: vec![vertex], ..Default::default() };
        let text = STANDARD.encode(sent.encode_to_vec());
        let line = format!(r#"{{"id":"moby.buildkit.trace","aux":"{text}"}}"#);
        assert_eq!(parse(line.as_bytes()).unwrap().trace().unwrap(), Some(sent));
        for bad in ["***", "/////w=="] {
            let line = format!(r#"{{"id":"moby.buildkit.trace","aux":"{bad}"}}"#);
            assert!(parse(line.as_bytes()).unwrap().trace().is_err(), "{bad}");
        }
    }
}
