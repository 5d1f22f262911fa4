//! `POST /build`: a context goes in as a tar stream, news come out.
//!
//! BuildKit is asked for wherever the engine has it. It works without a session when the context
//! is the request's body, but over that session it would ask for registry credentials, and without
//! it refuses to pull ("no active sessions"), even what is public. So base images that are not
//! there are pulled before, with credentials if there are any, and BuildKit takes what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream;
use reqwest::{Body, Method, Response};
use tokio::sync::mpsc;

use super::super::dockerfile::base_images;
use super::super::progress::Line;
use super::super::registry::DockerConfig;
use super::Engine;
use super::message::Messages;
use super::trace::{FailedStep, Steps};
use crate::tree::Tree;

/// How much of a context is on its way at once: pieces of [`PIECE`] bytes.
const PIECES: usize = 4;
/// Size of a piece, in bytes.
const PIECE: usize = 64 * 1024;

/// A build.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    /// The name of the image.
    pub(crate) image: &'a str,
    /// What it is made from.
    pub(crate) context: &'a Tree,
    /// Build arguments.
    pub(crate) arguments: &'a BTreeMap<String, String>,
    /// Labels of the image.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Whether nothing is taken from the cache.
    pub(crate) no_cache: bool,
    /// Whether base images are looked for anew.
    pub(crate) pull: bool,
    /// Whether the layers become one.
    pub(crate) squash: bool,
}

/// Builds an image.
pub(crate) async fn build(
    engine: &Engine,
    config: &DockerConfig,
    request: &Request<'_>,
    line: &mut Line,
) -> Result<()> {
    let missed = pull_bases(engine, config, request, line).await?;
    let answer = send(engine, request).await?;
    let built = follow(Messages::of(answer).await?, line).await;
    built.map_err(|error| match missed.as_slice() {
        [] => error,
        missed => anyhow::anyhow!("{}\n  {error:#}", missed.join("\n  ")),
    })
}

/// Pulls the base images that are not there, or with `pull` all of them.
///
/// Gives back why some could not be pulled: the build may do without those of unused stages.
async fn pull_bases(
    engine: &Engine,
    config: &DockerConfig,
    request: &Request<'_>,
    line: &mut Line,
) -> Result<Vec<String>> {
    let mut missed = Vec::new();
    for image in bases(request)? {
        if !request.pull && engine.has_image(&image).await? {
            continue;
        }
        let login = config.credentials(&image)?;
        match engine.pull(&image, login.as_ref(), line).await {
            Err(error) if !request.pull => missed.push(format!("{error:#}")),
            done => done?,
        }
    }
    Ok(missed)
}

fn bases(request: &Request<'_>) -> Result<BTreeSet<String>> {
    let text = request.context.file("Dockerfile")?.unwrap_or_default();
    Ok(base_images(&String::from_utf8_lossy(&text), request.arguments))
}

/// Sends the context; with the classic builder when the engine refuses BuildKit.
async fn send(engine: &Engine, request: &Request<'_>) -> Result<Response> {
    let query = query(request)?;
    if engine.buildkit {
        let mut with_buildkit = query.clone();
        with_buildkit.push(("version", "2".to_owned()));
        let answer = upload(engine, request.context, &with_buildkit).await?;
        // 400 and 501 are what engines without it have answered; trouble of the build itself
        // comes later, in the stream.
        if !matches!(answer.status().as_u16(), 400 | 501) {
            return Ok(answer);
        }
    }
    upload(engine, request.context, &query).await
}

fn query(request: &Request<'_>) -> Result<Vec<(&'static str, String)>> {
    let mut all = vec![
        ("t", request.image.to_owned()),
        ("dockerfile", "Dockerfile".to_owned()),
        ("buildargs", serde_json::to_string(request.arguments)?),
        ("labels", serde_json::to_string(request.labels)?),
        ("rm", "1".to_owned()),
        ("forcerm", "1".to_owned()),
    ];
    let switches = [("nocache", request.no_cache), ("squash", request.squash)];
    all.extend(switches.iter().filter(|(_, on)| *on).map(|(name, _)| (*name, "1".to_owned())));
    Ok(all)
}

async fn upload(
    engine: &Engine,
    context: &Tree,
    query: &[(&'static str, String)],
) -> Result<Response> {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let context = context.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let mut out = BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        let written = context.tar(&mut out).and_then(|()| Ok(out.flush()?));
        if written.is_err() {
            // The engine must not take half a context for a whole one.
            let _ = sender.blocking_send(Err(io::Error::other("the context cannot be read")));
        }
        written
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let request = engine
        .request(Method::POST, "/build")
        .query(query)
        .header("Content-Type", "application/x-tar")
        .body(Body::wrap_stream(pieces));
    let answer = request.send().await;
    match (answer, writing.await?) {
        (Ok(answer), _) => Ok(answer),
        (Err(_), Err(unreadable)) if !is_broken_pipe(&unreadable) => Err(unreadable),
        (Err(error), _) => Err(error).context("the engine broke off"),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// Writes go to the request's body. Nobody reading is a broken pipe.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(piece)).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows the news until the build has ended, well or not.
async fn follow(mut messages: Messages, line: &mut Line) -> Result<()> {
    let mut steps = Steps::default();
    let mut classic = String::new();
    let mut failure = None;
    while let Some(message) = messages.next().await? {
        if let Some(news) = message.trace()? {
            steps.take(news, line);
        }
        if let Some(text) = &message.stream {
            show_classic(text, &mut classic, line);
        }
        if let Some(text) = message.failure() {
            failure = Some(text.to_owned());
        }
    }
    let Some(failure) = failure else { return Ok(()) };
    let step =
        steps.failed.unwrap_or_else(|| FailedStep { name: classic, lines: line.take_tail() });
    Err(failed(&failure, &step))
}

/// The classic builder's steps begin with `Step 1/3 : `.
fn show_classic(text: &str, current: &mut String, line: &mut Line) {
    for part in text.lines().filter(|part| !part.trim().is_empty()) {
        if part.starts_with("Step ") && part.contains(" : ") {
            part.clone_into(current);
            line.take_tail();
            line.step(part);
        } else {
            line.log(part);
        }
    }
}

fn failed(reason: &str, step: &FailedStep) -> anyhow::Error {
    let mut text = reason.trim().to_owned();
    if !step.name.is_empty() {
        text.push_str(&format!("\n  step: {}", step.name));
    }
    for line in &step.lines {
        text.push_str(&format!("\n  | {line}"));
    }
    anyhow::anyhow!(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn request<'a>(context: &'a Tree, none: &'a BTreeMap<String, String>) -> Request<'a> {
        Request {
            image: "i",
            context,
            arguments: none,
            labels: none,
            no_cache: true,
            pull: true,
            squash: false,
        }
    }

    #[test]
    fn switches_are_sent_only_when_on() {
        let (tree, none) = (Tree::default(), BTreeMap::new());
        let query = query(&request(&tree, &none)).unwrap();
        let names: Vec<&str> = query.into_iter().map(|(name, _)| name).skip(6).collect();
        assert_eq!(names, ["nocache"]);
    }

    #[test]
    fn errors_show_the_step_and_what_it_printed() {
        let step = FailedStep { name: "[2/2] RUN x".to_owned(), lines: vec!["oops".to_owned()] };
        assert_eq!(
            failed("exit code: 1\n", &step).to_string(),
            "exit code: 1\n  step: [2/2] RUN x\n  | oops"
        );
    }

    #[test]
    fn dockerfile_is_found_in_context() {
        let mut tree = Tree::default();
        let content = crate::tree::Content::Static(b"FROM a.io/x");
        tree.put(Path::new("Dockerfile"), crate::tree::Node::File { content, executable: false });
        assert!(bases(&request(&tree, &BTreeMap::new())).unwrap().contains("a.io/x"));
    }
}
