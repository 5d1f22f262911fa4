//! `stack.yaml`: functions, where they come from and where they go (contract 6.1).

mod edit;
mod environment;
mod function;
mod load;
mod merge;
mod parse;
mod select;
mod substitute;
mod wildcard;

use std::fmt;

pub use edit::{Amounts, NewFunction, append, create};
pub use function::{Configuration, Function, ProviderPart, TemplateSource};
pub use load::{DEFAULT_FILES, Lookup, Source, find, load, open, read_text, require};
pub(crate) use merge::texts;
pub use select::Selection;
pub(crate) use substitute::substitute;
pub use wildcard::Wildcard;

/// A stack file, read and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Where it came from, a path or a URL: the first word of every error about it.
    pub file: String,
    /// The `provider` part.
    pub provider: ProviderPart,
    /// The `configuration` part.
    pub configuration: Configuration,
    /// The functions, in the order of the file.
    pub functions: Vec<Function>,
    /// What looks like a mistake but stops nothing, such as an unknown key.
    pub warnings: Vec<String>,
}

/// What is wrong with a stack file: the file, the key, the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct StackError {
    file: String,
    key: String,
    reason: String,
}

impl StackError {
    /// An error at a key; an empty key means the whole file.
    pub fn new(file: &str, key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.to_owned(), key: key.into(), reason: reason.into() }
    }
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.file, self.reason),
            key => write!(f, "{}: {key}: {}", self.file, self.reason),
        }
    }
}

impl Stack {
    /// The function of that name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The function as it goes over the wire.
    ///
    /// Reads its environment files. The process is the function's own, not the template's, and
    /// the image is as written: tags by `--tag` and values from flags are the caller's to add.
    pub fn to_function(&self, function: &Function) -> anyhow::Result<provider::Function> {
        let files = environment::read(self, function)?;
        Ok(function.wire(files))
    }

    /// Checks what bounds the calls of a function as it goes over the wire, before it is built for
    /// a gateway that refuses it.
    pub fn check_limits(&self, wire: &provider::Function) -> Result<(), StackError> {
        wire.check_limits().map_err(|error| {
            let reason = error.to_string().replacen("envVars.", "environment.", 1);
            StackError::new(&self.file, format!("functions.{}", wire.service), reason)
        })
    }
}
