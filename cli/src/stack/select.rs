//! Which functions of a stack are meant: `--filter` and `--regex`.

use regex::Regex;

use super::{Function, Stack, Wildcard};
use crate::error::{hinted, usage};

/// Which functions of a stack are meant.
#[derive(Clone, Debug, Default)]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// Those whose whole names match a wildcard.
    Filter(String, Wildcard),
    /// Those whose names match a regular expression somewhere.
    Regex(Regex),
}

impl Selection {
    /// From the flags. Both at once, or a bad expression, are wrong usage.
    pub fn new(filter: Option<&str>, regex: Option<&str>) -> anyhow::Result<Self> {
        let given = |text: &&str| !text.is_empty();
        match (filter.filter(given), regex.filter(given)) {
            (Some(_), Some(_)) => {
                Err(usage("--filter and --regex exclude each other", "give one of them"))
            }
            (Some(filter), None) => Ok(Self::Filter(filter.to_owned(), Wildcard::new(filter))),
            (None, Some(regex)) => Regex::new(regex).map(Self::Regex).map_err(|error| {
                usage(format!("--regex: {error}"), "see https://docs.rs/regex for the syntax")
            }),
            (None, None) => Ok(Self::All),
        }
    }

    /// Whether a function of that name is meant.
    pub fn takes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Filter(_, wildcard) => wildcard.matches(name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }

    /// The functions that are meant. None at all is an error.
    pub fn of<'a>(&self, stack: &'a Stack) -> anyhow::Result<Vec<&'a Function>> {
        let chosen: Vec<_> = stack.functions.iter().filter(|f| self.takes(&f.name)).collect();
        if !chosen.is_empty() {
            return Ok(chosen);
        }
        let names: Vec<&str> = stack.functions.iter().map(|f| f.name.as_str()).collect();
        let known = match names.as_slice() {
            [] => {
                return Err(hinted(
                    format!("{} has no functions", stack.file),
                    "add one with `faas new`",
                ));
            }
            names => format!("its functions are: {}", names.join(", ")),
        };
        let flag = match self {
            Self::Filter(filter, _) => format!("--filter {filter}"),
            Self::Regex(regex) => format!("--regex {regex}"),
            Self::All => String::new(),
        };
        Err(hinted(format!("no function of {} matches {flag}", stack.file), known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        let function = |name: &str| Function { name: name.to_owned(), ..Function::default() };
        Stack {
            file: "stack.yml".to_owned(),
            functions: ["api-a", "api-b", "web"].map(function).into(),
            ..Stack::default()
        }
    }

    fn chosen(filter: Option<&str>, regex: Option<&str>) -> anyhow::Result<Vec<String>> {
        let stack = stack();
        let functions = Selection::new(filter, regex)?.of(&stack)?;
        Ok(functions.iter().map(|f| f.name.clone()).collect())
    }

    #[test]
    fn selection() {
        assert_eq!(chosen(None, None).unwrap().len(), 3);
        assert_eq!(chosen(Some("api-*"), None).unwrap(), ["api-a", "api-b"]);
        assert_eq!(chosen(None, Some("b$|w")).unwrap(), ["api-b", "web"]);
        assert!(chosen(Some("*"), Some(".")).is_err());
        assert!(chosen(None, Some("(")).is_err());
        let none = chosen(Some("x*"), None).unwrap_err().to_string();
        assert_eq!(none, "no function of stack.yml matches --filter x*");
    }
}
