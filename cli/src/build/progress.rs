//! Shows how builds and pushes are going: a line each on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::output::{style, talk};

/// How many lines of a failed step are shown again.
const TAIL: usize = 40;
/// Time between two turns of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// Where progress is shown.
#[derive(Debug)]
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
    quiet: bool,
}

impl Progress {
    /// On this terminal, or as lines on stderr. Quiet shows nothing.
    pub(crate) fn new(quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && !quiet;
        Self { bars: terminal.then(MultiProgress::new), quiet }
    }

    /// The progress of one function.
    pub(crate) fn start(&self, name: &str) -> Line {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            let shape =
                ProgressStyle::with_template("{spinner} {prefix:.bold} {elapsed:.dim} {wide_msg}");
            bar.set_style(shape.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(TICK);
            bar
        });
        Line {
            name: name.to_owned(),
            bar,
            quiet: self.quiet,
            tail: VecDeque::new(),
            started: Instant::now(),
        }
    }

    /// Writes a result to stdout without disturbing the bars.
    pub(crate) fn result(&self, text: &str) -> std::io::Result<()> {
        match &self.bars {
            Some(bars) => bars.suspend(|| crate::output::line(text)),
            None => crate::output::line(text),
        }
    }
}

/// The progress of one function.
#[derive(Debug)]
pub(crate) struct Line {
    name: String,
    bar: Option<ProgressBar>,
    quiet: bool,
    tail: VecDeque<String>,
    started: Instant,
}

impl Line {
    /// A step begins.
    pub(crate) fn step(&mut self, text: &str) {
        self.say(text);
        if let Some(bar) = &self.bar {
            bar.set_message(plain(text));
        }
    }

    /// A step prints a line.
    pub(crate) fn log(&mut self, text: &str) {
        let text = plain(text.trim_end());
        self.say(&format!("  {text}"));
        self.remember(&text);
    }

    /// Something to know that is no step: plain lines only.
    pub(crate) fn note(&mut self, text: &str) {
        self.say(text);
    }

    /// Keeps a line, in case the step fails.
    pub(crate) fn remember(&mut self, text: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(text.to_owned());
    }

    /// The last lines, for an error.
    pub(crate) fn take_tail(&mut self) -> Vec<String> {
        self.tail.drain(..).collect()
    }

    /// How long it has taken, such as `3.2s`.
    pub(crate) fn elapsed(&self) -> String {
        format!("{:.1}s", self.started.elapsed().as_secs_f64())
    }

    fn say(&self, text: &str) {
        if self.bar.is_none() && !self.quiet {
            talk(&format!("{} {text}", style::dim(&format!("{} |", self.name))));
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The text without control characters and escape sequences: what a build prints must not move
/// the cursor or change colours here.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.next_if_eq(&'[').is_some() {
            // A sequence ends with its first letter or other character from `@` on.
            while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else if c == '\t' || c == '\n' {
            out.push(' ');
        } else if !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_control_characters() {
        assert_eq!(plain("\u{1b}[91mred\u{1b}[0m\u{1b}[2K ü\ta\u{7}\u{1b}]0;t"), "red ü a]0;t");
        assert_eq!(plain("\u{1b}[12;3"), "");
    }
}
