//! Replaces `${VARIABLES}` in a text, as the reference does (contract 6.1).
//!
//! | expression | meaning |
//! |---|---|
//! | `${V}` | the value, empty when not set |
//! | `${V:-text}` `${V=text}` `${V:=text}` | the text when the value is empty |
//! | `${#V}` | length in characters |
//! | `${V^}` `${V^^}` `${V,}` `${V,,}` | first or all characters in upper or lower case |
//! | `${V#p}` `${V##p}` `${V%p}` `${V%%p}` | without the shortest or longest prefix or suffix that matches |
//! | `${V/a/b}` `${V//a/b}` `${V/#a/b}` `${V/%a/b}` | first, every, leading, trailing `a` becomes `b` |
//! | `${V:offset}` `${V:offset:length}` | a part; a negative offset counts from the end |
//! | `$$` | one dollar |
//!
//! `$V` without braces stays. Texts and patterns may hold expressions in their turn. Values are
//! never looked at again: what a variable holds is not an expression.

use super::wildcard::Wildcard;

/// Deepest nesting of expressions.
const MAX_DEPTH: usize = 32;

/// Where an expression went wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: bad substitution: {reason}")]
pub(crate) struct BadSubstitution {
    line: usize,
    reason: String,
}

type Result<T> = std::result::Result<T, String>;

/// Replaces every expression of the text.
pub(crate) fn substitute(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> std::result::Result<String, BadSubstitution> {
    let mut scanner = Scanner { text, at: 0, depth: 0, lookup };
    scanner.text_until(&[], false).map_err(|reason| {
        let line = text[..scanner.at].matches('\n').count() + 1;
        BadSubstitution { line, reason }
    })
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        self.at += if found { prefix.len() } else { 0 };
        found
    }

    /// Text up to one of the ends, which is left; expressions in it are replaced. With `escapes`, a
    /// backslash takes a slash or backslash as it is.
    fn text_until(&mut self, ends: &[char], escapes: bool) -> Result<String> {
        let mut out = String::new();
        while let Some(next) = self.peek() {
            if ends.contains(&next) {
                break;
            }
            if self.take("$$") {
                out.push('$');
            } else if self.take("${") {
                out.push_str(&self.expression()?);
            } else if escapes && (self.take("\\/") || self.take("\\\\")) {
                out.extend(self.text[..self.at].chars().next_back());
            } else {
                out.push(next);
                self.at += next.len_utf8();
            }
        }
        Ok(out)
    }

    /// What follows `${`, up to and with its `}`.
    fn expression(&mut self) -> Result<String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep"));
        }
        let measured = self.take("#");
        let name = self.name()?;
        let value = (self.lookup)(&name).unwrap_or_default();
        let out = if measured { value.chars().count().to_string() } else { self.operator(value)? };
        if !self.take("}") {
            return Err(format!("`${{{name}` is not closed, or followed by an unknown operator"));
        }
        self.depth -= 1;
        Ok(out)
    }

    fn name(&mut self) -> Result<String> {
        let good = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let length = self.rest().find(|c| !good(c)).unwrap_or(self.rest().len());
        if length == 0 {
            return Err(
                "`${` must be followed by a variable's name; write `$$` for a dollar".into()
            );
        }
        let name = self.rest()[..length].to_owned();
        self.at += length;
        Ok(name)
    }

    fn operator(&mut self, value: String) -> Result<String> {
        let Some(first) = self.peek() else { return Ok(value) };
        match first {
            ':' | '=' => self.default_or_part(value),
            '^' | ',' => Ok(self.case(&value)),
            '#' | '%' => self.trim(value),
            '/' => self.replace(&value),
            _ => Ok(value),
        }
    }

    fn default_or_part(&mut self, value: String) -> Result<String> {
        if self.take(":-") || self.take(":=") || self.take("=") {
            let default = self.text_until(&['}'], false)?;
            return Ok(if value.is_empty() { default } else { value });
        }
        for unsupported in [":?", ":+"] {
            if self.rest().starts_with(unsupported) {
                return Err(format!("the operator `{unsupported}` is not supported"));
            }
        }
        self.take(":");
        let offset = self.text_until(&[':', '}'], false)?;
        let length = if self.take(":") { Some(self.text_until(&['}'], false)?) } else { None };
        part(&value, &offset, length.as_deref())
    }

    fn case(&mut self, value: &str) -> String {
        if self.take("^^") {
            value.to_uppercase()
        } else if self.take(",,") {
            value.to_lowercase()
        } else {
            let upper = self.take("^") || !self.take(",");
            let mut chars = value.chars();
            let first = chars.next().map(|c| {
                if upper { c.to_uppercase().to_string() } else { c.to_lowercase().to_string() }
            });
            first.unwrap_or_default() + chars.as_str()
        }
    }

    fn trim(&mut self, value: String) -> Result<String> {
        let kinds =
            [("##", false, true), ("#", false, false), ("%%", true, true), ("%", true, false)];
        let kind = kinds.into_iter().find(|(operator, ..)| self.take(operator));
        let (_, suffix, longest) = kind.unwrap_or(kinds[0]);
        let pattern = Wildcard::new(&self.text_until(&['}'], false)?);
        let cut = if suffix {
            suffix_at(&value, &pattern, longest)
        } else {
            prefix_at(&value, &pattern, longest)
        };
        Ok(match cut {
            Some(at) if suffix => value[..at].to_owned(),
            Some(at) => value[at..].to_owned(),
            None => value,
        })
    }

    fn replace(&mut self, value: &str) -> Result<String> {
        let kinds = [("//", '*'), ("/#", '#'), ("/%", '%'), ("/", '1')];
        let kind =
            kinds.iter().find(|(prefix, _)| self.take(prefix)).map_or('1', |(_, kind)| *kind);
        let from = self.text_until(&['/', '}'], true)?;
        let to = if self.take("/") { self.text_until(&['}'], true)? } else { String::new() };
        if from.is_empty() {
            return Ok(value.to_owned());
        }
        Ok(match kind {
            '*' => value.replace(&from, &to),
            '#' => value.strip_prefix(&from).map_or_else(|| value.to_owned(), |rest| to + rest),
            '%' => value
                .strip_suffix(&from)
                .map_or_else(|| value.to_owned(), |rest| rest.to_owned() + &to),
            _ => value.replacen(&from, &to, 1),
        })
    }
}

/// A part of the value, counted in characters. Offsets beyond the ends are the ends.
fn part(value: &str, offset: &str, length: Option<&str>) -> Result<String> {
    let number = |text: &str| {
        text.trim().parse::<i64>().map_err(|_| format!("{text:?} is not a whole number"))
    };
    let total = value.chars().count();
    let offset = number(offset)?;
    let distance = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let skip = if offset < 0 { total.saturating_sub(distance) } else { distance };
    let take = match length.map(number).transpose()? {
        Some(length) => {
            usize::try_from(length).map_err(|_| format!("length {length} is negative"))?
        }
        None => total,
    };
    Ok(value.chars().skip(skip).take(take).collect())
}

/// Where the prefix that matches ends.
fn prefix_at(value: &str, pattern: &Wildcard, longest: bool) -> Option<usize> {
    let mut ends = boundaries(value).filter(|at| pattern.matches(&value[..*at]));
    if longest { ends.last() } else { ends.next() }
}

/// Where the suffix that matches starts.
fn suffix_at(value: &str, pattern: &Wildcard, longest: bool) -> Option<usize> {
    let mut starts = boundaries(value).filter(|at| pattern.matches(&value[*at..]));
    if longest { starts.next() } else { starts.last() }
}

fn boundaries(value: &str) -> impl Iterator<Item = usize> {
    value.char_indices().map(|(at, _)| at).chain([value.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> std::result::Result<String, BadSubstitution> {
        substitute(text, &|name| {
            let value = match name {
                "A" => "abcdEFGH28ij",
                "PATH_NAME" => "/home/bozo/ideas/thoughts.for.today",
                "Z" => "abcABC123ABCabc",
                "FILE" => "bash.string.txt",
                "P" => "path/to/file",
                "U" => "über-Größe",
                "EVIL" => "${A}$$`id`",
                "EMPTY" => "",
                _ => return None,
            };
            Some(value.to_owned())
        })
    }

    #[test]
    fn expressions() {
        let cases = [
            ("plain $A $(A) $ text $", "plain $A $(A) $ text $"),
            ("${A}${A}", "abcdEFGH28ijabcdEFGH28ij"),
            ("[${UNSET}]", "[]"),
            ("${#A} ${#U} ${#UNSET}", "12 10 0"),
            ("${A^} ${A^^} ${A,,} ${U^}", "AbcdEFGH28ij ABCDEFGH28IJ abcdefgh28ij Über-Größe"),
            ("${UNSET^}${UNSET,}", ""),
            ("${PATH_NAME:11} ${PATH_NAME:11:5}", "ideas/thoughts.for.today ideas"),
            ("${PATH_NAME:-5}", "/home/bozo/ideas/thoughts.for.today"),
            ("${PATH_NAME: -5} ${U:1:3} [${A:99}] ${A:0:99}", "today ber [] abcdEFGH28ij"),
            ("${UNSET:-x y} ${EMPTY:-z} ${UNSET=p} ${UNSET:=q} ${A:-n}", "x y z p q abcdEFGH28ij"),
            ("${UNSET:-${A^^}} ${UNSET:-a${UNSET:-b}c}", "ABCDEFGH28IJ abc"),
            ("${UNSET:-http://h:1/x?y=$z}", "http://h:1/x?y=$z"),
            ("${UNSET:-}|${UNSET:-'q'}", "|'q'"),
            ("${Z/%abc/XYZ} ${Z/#abc/XYZ}", "abcABC123ABCXYZ XYZABC123ABCabc"),
            (
                "${Z//abc/x} ${Z/abc/x} ${Z//abc} ${Z//abc/}",
                "xABC123ABCx xABC123ABCabc ABC123ABC ABC123ABC",
            ),
            ("${P//\\//-} ${P/\\//-} ${FILE/./}", "path-to-file path-to/file bashstring.txt"),
            ("${Z//${UNSET:-abc}/${A:0:1}}", "aABC123ABCa"),
            ("${FILE#*.} ${FILE##*.} ${P##*/} ${P#*/}", "string.txt txt file to/file"),
            (
                "${FILE%.*} ${FILE%%.*} ${P%/*} ${FILE%nope}",
                "bash.string bash path/to bash.string.txt",
            ),
            ("${FILE%.???} ${A#[a-c]}", "bash.string bcdEFGH28ij"),
            ("$$ $${A} $$A", "$ ${A} $A"),
            ("some ${A}$${var$${A}$A", "some abcdEFGH28ij${var${A}$A"),
            ("$${x=${A:0:2}}", "${x=ab}"),
            ("${EVIL}", "${A}$$`id`"),
            ("${UNSET:-${EVIL}}", "${A}$$`id`"),
            ("c:\\\\dir \\/ ${P}", "c:\\\\dir \\/ path/to/file"),
        ];
        for (text, want) in cases {
            assert_eq!(run(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn bad_expressions_name_the_line() {
        let deep = "${UNSET:-".repeat(10_000);
        for text in [
            "${",
            "${}",
            "${A",
            "${A!}",
            "${A:?x}",
            "${A:+x}",
            "${A:x}",
            "${A:1:-2}",
            "${A/x",
            "${#}",
            &deep,
        ] {
            let error = run(&format!("a\nb: {text}")).unwrap_err().to_string();
            assert!(error.starts_with("line 2: bad substitution"), "{error}");
        }
    }

    #[test]
    fn hostile_numbers_and_patterns_end() {
        assert_eq!(run("${A:99999999999}").as_deref(), Ok(""));
        assert!(run("${A:99999999999999999999}").is_err());
        let stars = format!("${{A##{}b}}", "*a".repeat(2000));
        assert_eq!(run(&stars).as_deref(), Ok("abcdEFGH28ij"));
    }
}
