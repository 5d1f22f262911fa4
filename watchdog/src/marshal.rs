//! The request as JSON, for `marshal_request` (contract 5.11), piece by piece so that a body of
//! any size passes through.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;

use crate::cgi::canonical;

/// Writes `{"header":{...},"body":{"raw":"<base64>"}}`.
#[derive(Debug, Default)]
pub struct Marshal {
    /// Bytes that do not make a group of three yet.
    carry: Vec<u8>,
}

impl Marshal {
    /// What comes before the body.
    pub fn begin(headers: &HeaderMap) -> Vec<u8> {
        let mut all = BTreeMap::<String, Vec<_>>::new();
        for (name, value) in headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            all.entry(canonical(name.as_str())).or_default().push(value);
        }
        let headers = serde_json::to_string(&all).unwrap_or_else(|_| "{}".to_owned());
        format!(r#"{{"header":{headers},"body":{{"raw":""#).into_bytes()
    }

    /// A piece of the body.
    pub fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.carry.extend_from_slice(bytes);
        let whole = self.carry.len() / 3 * 3;
        let text = BASE64_STANDARD.encode(&self.carry[..whole]);
        self.carry.drain(..whole);
        text.into_bytes()
    }

    /// What comes after the body.
    pub fn end(&mut self) -> Vec<u8> {
        let rest = BASE64_STANDARD.encode(&self.carry);
        self.carry.clear();
        format!("{rest}\"}}}}").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn pieces_make_one_document() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1\"2"));
        headers.append("x-a", HeaderValue::from_static("3"));
        for cut in 0..=8 {
            let body = b"\x00\xff hello";
            let mut marshal = Marshal::default();
            let mut all = Marshal::begin(&headers);
            all.extend(marshal.piece(&body[..cut]));
            all.extend(marshal.piece(&body[cut..]));
            all.extend(marshal.end());
            let all: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
            let expected = serde_json::json!({
                "header": {"X-A": ["1\"2", "3"]},
                "body": {"raw": BASE64_STANDARD.encode(body)},
            });
            assert_eq!(all, expected);
        }
    }
}
