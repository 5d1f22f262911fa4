//! `.dockerignore`, as Docker reads it.
//!
//! Patterns are applied in order and the last one that matches a path, or a folder above it, wins;
//! `!` takes a path back. `*` and `?` stop at a slash, `**` does not. Unlike in `.gitignore`, a
//! pattern is anchored at the root. Source: https://docs.docker.com/build/concepts/context/

use std::path::Path;

use regex::Regex;

/// The patterns of a `.dockerignore`.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    pattern: Regex,
    negated: bool,
}

/// A line that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is not a pattern")]
pub struct BadPattern {
    line: usize,
    text: String,
}

impl Ignore {
    /// Reads the text of the file.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut rules = Vec::new();
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let bad = || BadPattern { line: index + 1, text: line.to_owned() };
            rules.push(rule(line.trim()).ok_or_else(bad)?);
        }
        Ok(Self { rules })
    }

    /// Whether a path is left out.
    pub fn takes(&self, path: &Path) -> bool {
        let names: Vec<String> = path
            .ancestors()
            .filter(|path| *path != Path::new(""))
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let matches = |rule: &&Rule| names.iter().any(|name| rule.pattern.is_match(name));
        self.rules.iter().rev().find(matches).is_some_and(|rule| !rule.negated)
    }
}

fn rule(line: &str) -> Option<Rule> {
    let (negated, pattern) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    if pattern.is_empty() {
        return None;
    }
    Some(Rule { pattern: Regex::new(&expression(&clean(pattern))).ok()?, negated })
}

/// The shortest form of a path: no `.`, no `//`, no slash at either end, `..` resolved.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// The regular expression of a pattern.
fn expression(pattern: &str) -> String {
    let mut out = String::from("^");
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let (text, length) = match first {
            '*' if rest == "**" => (".*".to_owned(), 2),
            '*' if rest.starts_with("**/") => ("(.*/)?".to_owned(), 3),
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            '[' | ']' | '-' | '^' => (first.to_string(), 1),
            '\\' => {
                let next = rest.chars().nth(1).unwrap_or('\\');
                (regex::escape(&next.to_string()), rest.len().min(1 + next.len_utf8()))
            }
            other => (regex::escape(&other.to_string()), other.len_utf8()),
        };
        out.push_str(&text);
        rest = &rest[length..];
    }
    out + "$"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(patterns: &str, path: &str) -> bool {
        Ignore::parse(patterns).unwrap().takes(Path::new(path))
    }

    #[test]
    fn patterns() {
        let cases = [
            ("node_modules", "node_modules", true),
            ("node_modules", "node_modules/a/b", true),
            ("node_modules", "sub/node_modules", false),
            ("**/node_modules", "node_modules", true),
            ("**/node_modules", "a/b/node_modules/c", true),
            ("/a", "a", true),
            ("./a/", "a/b", true),
            ("a/../b", "b", true),
            ("../a", "a", false),
            ("*.md", "a.md", true),
            ("*.md", "b/a.md", false),
            ("*/*.md", "b/a.md", true),
            ("**/*.md", "a.md", true),
            ("**/*.md", "c/b/a.md", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("**", "anything/at/all", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("a.b", "axb", false),
            ("a+(b)", "a+(b)", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("# comment\n\n  a  ", "a", true),
            ("\u{feff}a", "a", true),
            ("*\n!a", "a", false),
            ("*\n!a", "a/b", false),
            ("*\n!a\na/b", "a/b", true),
            ("!a\na", "a", true),
            ("a\n! a/b ", "a/b", false),
            ("a\n!a/b", "a/c", true),
            ("*.md\n!README.md", "README.md", false),
            ("README*\n!README.md\nREADME*", "README.md", true),
            (".", "a", false),
            ("größe", "größe/x", true),
        ];
        for (patterns, path, want) in cases {
            assert_eq!(takes(patterns, path), want, "{patterns:?} {path:?}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        for bad in ["!", "[a", "a[z-a]"] {
            let error = Ignore::parse(&format!("ok\n{bad}")).unwrap_err().to_string();
            assert!(error.starts_with("line 2: "), "{error}");
        }
    }
}
