//! What BuildKit tells of a build: its steps, and their output.
//!
//! The messages are `control.StatusResponse` and its parts of BuildKit's API, with the fields that
//! are used here. Source: https://github.com/moby/buildkit, api/services/control/control.proto

use std::collections::HashMap;

use super::super::progress::{Line, plain};

/// News of a build.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct StatusResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) vertexes: Vec<Vertex>,
    #[prost(message, repeated, tag = "3")]
    pub(super) logs: Vec<VertexLog>,
}

/// A step.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Vertex {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(bool, tag = "4")]
    pub(super) cached: bool,
    #[prost(message, optional, tag = "5")]
    pub(super) started: Option<Timestamp>,
    #[prost(message, optional, tag = "6")]
    pub(super) completed: Option<Timestamp>,
    #[prost(string, tag = "7")]
    pub(super) error: String,
}

/// A piece of a step's output.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct VertexLog {
    #[prost(string, tag = "1")]
    pub(super) vertex: String,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) msg: Vec<u8>,
}

/// A time; only whether there is one matters.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

/// The steps of a build, as far as they are known.
#[derive(Default)]
pub(super) struct Steps {
    known: HashMap<String, Step>,
    /// The step that failed.
    pub(super) failed: Option<FailedStep>,
}

#[derive(Default)]
struct Step {
    name: String,
    told: bool,
    output: String,
    lines: Vec<String>,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FailedStep {
    /// As the Dockerfile has it.
    pub(super) name: String,
    /// The last lines that it printed.
    pub(super) lines: Vec<String>,
}

/// How many lines of a step are kept.
const TAIL: usize = 40;
/// What a step's error says when another step was the reason.
const CANCELED: &str = "context canceled";

impl Steps {
    /// Takes news in, and shows them.
    pub(super) fn take(&mut self, news: StatusResponse, line: &mut Line) {
        for vertex in &news.vertexes {
            self.started(vertex, line);
        }
        for log in news.logs {
            let step = self.known.entry(log.vertex).or_default();
            step.print(&String::from_utf8_lossy(&log.msg), line);
        }
        for vertex in &news.vertexes {
            self.ended(vertex);
        }
    }

    fn started(&mut self, vertex: &Vertex, line: &mut Line) {
        let step = self.known.entry(vertex.digest.clone()).or_default();
        step.name.clone_from(&vertex.name);
        if step.told || vertex.started.is_none() {
            return;
        }
        step.told = true;
        match (vertex.name.starts_with("[internal]"), vertex.cached) {
            (true, _) => {}
            (false, true) => line.note(&format!("CACHED {}", vertex.name)),
            (false, false) => line.step(&vertex.name),
        }
    }

    fn ended(&mut self, vertex: &Vertex) {
        if vertex.error.is_empty() || vertex.error.contains(CANCELED) {
            return;
        }
        let step = self.known.entry(vertex.digest.clone()).or_default();
        let mut lines = std::mem::take(&mut step.lines);
        if !step.output.is_empty() {
            lines.push(plain(&std::mem::take(&mut step.output)));
        }
        self.failed.get_or_insert(FailedStep { name: step.name.clone(), lines });
    }
}

impl Step {
    /// Pieces of output end anywhere; lines are shown whole.
    fn print(&mut self, text: &str, line: &mut Line) {
        self.output.push_str(text);
        while let Some(end) = self.output.find('\n') {
            let whole: String = self.output.drain(..=end).collect();
            // Of a line that was drawn again and again, the last drawing counts.
            let whole = whole.trim_end();
            let last = whole.rsplit('\r').next().unwrap_or(whole);
            line.log(last);
            if self.lines.len() == TAIL {
                self.lines.remove(0);
            }
            self.lines.push(plain(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::progress::Progress;
    use super::*;

    fn vertex(digest: &str, error: &str) -> Vertex {
        let started = Some(Timestamp { seconds: 1 });
        Vertex {
            digest: digest.to_owned(),
            name: format!("RUN {digest}"),
            started,
            error: error.to_owned(),
            ..Default::default()
        }
    }

    fn log(digest: &str, text: &str) -> VertexLog {
        VertexLog { vertex: digest.to_owned(), msg: text.as_bytes().to_vec() }
    }

    #[test]
    fn the_first_step_that_failed_and_its_own_output() {
        let mut line = Progress::new(true).start("f");
        let mut steps = Steps::default();
        let mut take = |vertexes, logs| steps.take(StatusResponse { vertexes, logs }, &mut line);
        take(
            vec![vertex("a", ""), vertex("b", "")],
            vec![log("a", "one\ntw"), log("b", "other\n")],
        );
        take(vec![], vec![log("a", "o\n50%\r100%\nend")]);
        take(vec![vertex("b", "context canceled"), vertex("a", "exit code: 1")], vec![]);
        take(vec![vertex("c", "exit code: 2")], vec![]);
        let want = ["one", "two", "100%", "end"].map(str::to_owned).to_vec();
        assert_eq!(steps.failed, Some(FailedStep { name: "RUN a".to_owned(), lines: want }));
    }
}
