//! The function that is called: deployed for the check, and removed after it.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use provider::Function;
use provider::bundle::{CONFIG_FILE, Config, Program, Reference, SCHEMA};
use provider::label::{SCALE_MAX, SCALE_MIN, SCALE_TARGET};
use reqwest::Method;

use super::load::Script;
use super::{Call, Content, Expect};
use crate::build::local::archive;
use crate::gateway::{Backend, Gateway, TIMEOUT};
use crate::tree::{self, Node, Tree};

/// The image that is deployed where functions are images and none is named: the OpenFaaS project's
/// Alpine Linux with its watchdog, which runs `fprocess` for each call.
pub const DEFAULT_IMAGE: &str = "ghcr.io/openfaas/alpine:latest";
/// What it runs: its answer is what it is sent.
const DEFAULT_PROCESS: &str = "cat";
/// An image that is nowhere: nothing listens on that port.
const NO_IMAGE: &str = "127.0.0.1:1/flint-certify/none:latest";
/// The program of the bundle.
const SCRIPT: &[u8] = include_bytes!("subject.sh");
/// Its file.
const SCRIPT_FILE: &str = "certify.sh";
/// What it needs on the machine.
const PROGRAMS: [&str; 3] = ["sh", "cat", "sleep"];
/// Bytes of a body that fits in one packet, of one that does not, and of one chunk.
const BODY_BYTES: (usize, usize, usize) = (700, 20_000, 3_000);
/// Chunks of a body whose length is not told.
const CHUNKS: usize = 5;

/// An image that the caller chose.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Its name.
    pub image: String,
    /// Variables of its function.
    pub environment: BTreeMap<String, String>,
    /// Whether it answers a POST with the body that it is sent.
    pub echoes: bool,
}

/// What is known of the function's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It is the bundle: every answer is known.
    Bundle,
    /// An image that sends bodies back.
    Echo,
    /// An image that answers something.
    Any,
}

/// The function.
#[derive(Debug)]
pub struct Subject {
    function: Function,
    kind: Kind,
}

impl Subject {
    /// A function for this gateway, with a name that no other has. A bundle is given to the
    /// gateway; nothing is deployed yet.
    pub async fn new(gateway: &Gateway, namespace: &str, chosen: Option<Chosen>) -> Result<Self> {
        let name = format!("flint-certify-{:08x}", RandomState::new().hash_one(()) as u32);
        // Also with an image of the caller's: a gateway that is away says so before all else.
        let backend = Backend::of(&gateway.info(TIMEOUT).await?);
        let mut function =
            Function { service: name, namespace: namespace.to_owned(), ..Function::default() };
        let kind = match (chosen, backend) {
            (Some(chosen), _) => {
                (function.image, function.env_vars) = (chosen.image, chosen.environment);
                if chosen.echoes { Kind::Echo } else { Kind::Any }
            }
            (None, Backend::Images) => {
                DEFAULT_IMAGE.clone_into(&mut function.image);
                DEFAULT_PROCESS.clone_into(&mut function.env_process);
                Kind::Echo
            }
            (None, Backend::Bundles) => {
                function.image = put_bundle(gateway, &function.service).await?;
                Kind::Bundle
            }
        };
        Ok(Self { function, kind })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.function.service
    }

    /// Its namespace; empty is the default one.
    pub fn namespace(&self) -> &str {
        &self.function.namespace
    }

    /// The function as its n-th version, which may have so many replicas.
    pub fn version(&self, version: u32, most_replicas: u32) -> Function {
        let mut function = self.function.clone();
        function.env_vars.insert("certify_version".to_owned(), version.to_string());
        function.labels.insert(SCALE_MIN.to_owned(), "1".to_owned());
        function.labels.insert(SCALE_MAX.to_owned(), most_replicas.to_string());
        // It has as many replicas as it is asked to have, whatever the load.
        function.labels.insert(SCALE_TARGET.to_owned(), "1000000".to_owned());
        function
    }

    /// A version that never gets ready: its program ends at once, or its image is nowhere.
    pub fn broken(&self, version: u32, most_replicas: u32) -> Function {
        let mut function = self.version(version, most_replicas);
        if self.kind != Kind::Bundle {
            NO_IMAGE.clone_into(&mut function.image);
            return function;
        }
        "sh -c 'exit 1'".clone_into(&mut function.env_process);
        let port = [("mode", "http"), ("upstream_url", "http://127.0.0.1:0")];
        function.env_vars.extend(port.map(|(key, value)| (key.to_owned(), value.to_owned())));
        function
    }

    /// The calls: each kind in its turn.
    pub fn script(&self) -> Script {
        let name = match self.namespace() {
            "" => self.name().to_owned(),
            namespace => format!("{}.{namespace}", self.name()),
        };
        let (kind, at) = (self.kind, format!("/function/{name}"));
        Arc::new(move |number| call(kind, &at, number))
    }
}

/// The n-th call of the function at a path.
fn call(kind: Kind, at: &str, number: u64) -> Call {
    let (small, large, chunk) = BODY_BYTES;
    let body = |bytes: usize| Bytes::from(format!("{number} ").repeat(bytes)).slice(..bytes);
    let chunks = || Content::Chunks((0..CHUNKS).map(|_| body(chunk)).collect());
    let path = |path: &str| format!("{at}{}", if kind == Kind::Bundle { path } else { "/" });
    let get =
        |to: &str, answer: &str| Call::get(path(to), Expect::Exactly(answer.to_owned().into()));
    let text = format!("/text/{number}");
    let call = match number % 8 {
        1 => Call::echo(path("/"), Content::Whole(body(small))),
        2 => get(&text, &text).fresh(),
        3 => Call::echo(path("/"), chunks()),
        4 => Call { method: Method::PUT, ..Call::echo(path("/"), Content::Whole(body(small))) },
        5 => Call::echo(path("/slow"), Content::Whole(body(small))),
        6 => get("/lines", "1\n2\n3\n4\n5\n"),
        7 => Call::echo(path("/"), Content::Whole(body(large))).fresh(),
        _ => get(&text, &text),
    };
    let known = match kind {
        Kind::Bundle => true,
        Kind::Echo => call.method != Method::GET,
        Kind::Any => false,
    };
    // A function that answers anything to anything still has to know the method.
    let method =
        if kind == Kind::Any && call.method == Method::PUT { Method::POST } else { call.method };
    let expect = if known { call.expect } else { Expect::Complete };
    Call { method, expect, ..call }
}

/// Gives the gateway the bundle; what a deploy calls it.
async fn put_bundle(gateway: &Gateway, name: &str) -> Result<String> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let (archive, digest) = archive(&bundle()?, folder.path())?;
    gateway.put_bundle(digest, &archive, None).await?;
    Ok(Reference { name: name.to_owned(), digest }.to_string())
}

fn bundle() -> Result<Tree> {
    let environment = [
        ("fprocess", "sh ./certify.sh"),
        ("mode", "streaming"),
        ("cgi_headers", "true"),
        ("content_type", "text/plain"),
    ];
    let of = |name: &str| Program { name: name.to_owned(), install: format!("{name} (POSIX)") };
    let config = Config {
        schema: SCHEMA,
        template: "certify".to_owned(),
        environment: environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        programs: PROGRAMS.map(of).into(),
    };
    let file = |content| Node::File { content, executable: false };
    let mut bundle = Tree::default();
    bundle.put(Path::new(SCRIPT_FILE), file(tree::Content::Static(SCRIPT)));
    let config = serde_json::to_vec(&config)?;
    bundle.put(Path::new(CONFIG_FILE), file(tree::Content::Made(config.into())));
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_are_known_are_compared() {
        let exact = |kind: Kind| {
            let calls = (0..8).map(move |number| call(kind, "/function/f", number));
            calls.filter(|call| matches!(call.expect, Expect::Exactly(_))).count()
        };
        assert_eq!((exact(Kind::Bundle), exact(Kind::Echo), exact(Kind::Any)), (8, 5, 0));
        let any: Vec<_> = (0..8).map(|number| call(Kind::Any, "/function/f", number)).collect();
        assert!(any.iter().all(|call| call.path == "/function/f/"));
        assert!(any.iter().all(|call| call.method != Method::PUT));
    }

    #[test]
    fn versions_differ_and_a_broken_one_has_nothing_to_run() {
        let subject = |kind| {
            let function = Function { image: "i".to_owned(), ..Function::default() };
            Subject { function, kind }
        };
        let bundle = subject(Kind::Bundle);
        assert_ne!(bundle.version(1, 5), bundle.version(2, 5));
        assert_eq!(bundle.broken(1, 5).env_process, "sh -c 'exit 1'");
        assert_eq!(bundle.broken(1, 5).image, "i");
        assert_eq!(subject(Kind::Any).broken(1, 5).image, NO_IMAGE);
    }
}
