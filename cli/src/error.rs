//! Errors as a person reads them: `error:`, then what caused it, then `hint:`.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use crate::exit;
use crate::output::style;

/// An error with a hint or an exit code of its own; travels inside [`anyhow::Error`].
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

/// An error that tells what to do about it.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    let (message, hint) = (message.into(), Some(hint.into()));
    Failure { message, hint, code: exit::FAILURE, source: None }.into()
}

/// A message and a hint over the error that caused it.
pub fn caused(
    message: impl Into<String>,
    hint: impl Into<String>,
    source: impl Into<Box<dyn StdError + Send + Sync>>,
) -> anyhow::Error {
    let (message, hint) = (message.into(), Some(hint.into()));
    Failure { message, hint, code: exit::FAILURE, source: Some(source.into()) }.into()
}

/// A command line that cannot be meant: exit code 2.
pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    let (message, hint) = (message.into(), Some(hint.into()));
    Failure { message, hint, code: exit::USAGE, source: None }.into()
}

/// The person broke it off: exit code 130.
pub fn interrupted() -> anyhow::Error {
    let message = "interrupted".to_owned();
    Failure { message, hint: None, code: exit::INTERRUPTED, source: None }.into()
}

/// The exit code of an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if is_broken_pipe(error) {
        return exit::SUCCESS;
    }
    failures(error).map(|failure| failure.code).max().unwrap_or(exit::FAILURE)
}

/// Prints an error to stderr; nothing when only the reader of stdout went away.
pub fn report(error: &anyhow::Error) {
    if !is_broken_pipe(error) {
        crate::output::talk(render(error).trim_end());
    }
}

/// The text of an error: its chain, and the hint nearest to the top.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = format!("{} {error}\n", style::bad("error:"));
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !last.contains(&cause) {
            text.push_str(&format!("  {} {cause}\n", style::dim("caused by:")));
        }
        last = cause;
    }
    if let Some(hint) = failures(error).find_map(|failure| failure.hint.as_deref()) {
        text.push_str(&format!("{} {hint}\n", style::note("hint:")));
    }
    text
}

fn failures(error: &anyhow::Error) -> impl Iterator<Item = &Failure> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// Only stdout's pipe counts: errors of connections carry their request on top.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_told_once_and_the_hint_last() {
        let inner = io::Error::other("connection refused");
        let error = caused("no gateway answers at http://x", "start one", inner);
        let error = error.context("cannot deploy echo");
        let text = render(&error);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error: cannot deploy echo");
        assert_eq!(lines[1], "  caused by: no gateway answers at http://x");
        assert_eq!(lines[2], "  caused by: connection refused");
        assert_eq!(lines[3], "hint: start one");
    }

    #[test]
    fn exit_codes() {
        assert_eq!(exit_code(&hinted("a", "b")), exit::FAILURE);
        assert_eq!(exit_code(&usage("a", "b").context("c")), exit::USAGE);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(exit_code(&pipe.into()), exit::SUCCESS);
        assert_eq!(exit_code(&anyhow::anyhow!("x")), exit::FAILURE);
        assert_eq!(exit_code(&interrupted()), exit::INTERRUPTED);
    }
}
