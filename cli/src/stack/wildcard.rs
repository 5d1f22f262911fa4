//! Patterns with `*`, `?` and `[...]`, as a shell matches them.

/// A pattern: `*` is any text, `?` any character, `[a-z]` one of a set, `[!a]` or `[^a]` one not in
/// it, `\` takes the next character as it is. A `/` is a character like any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
    Set { ranges: Vec<(char, char)>, negated: bool },
}

impl Wildcard {
    /// Reads a pattern. A `[` that is not closed is a character.
    pub fn new(pattern: &str) -> Self {
        let chars: Vec<char> = pattern.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            let (part, length) = match chars[at] {
                '*' => (Part::Any, 1),
                '?' => (Part::One, 1),
                '\\' if at + 1 < chars.len() => (Part::Char(chars[at + 1]), 2),
                '[' => set(&chars[at..]).unwrap_or((Part::Char('['), 1)),
                other => (Part::Char(other), 1),
            };
            if part != Part::Any || parts.last() != Some(&Part::Any) {
                parts.push(part);
            }
            at += length;
        }
        Self { parts }
    }

    /// Whether the whole text matches. Takes at most pattern times text steps.
    pub fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        let (mut part, mut at) = (0, 0);
        let mut retry = None;
        while at < chars.len() {
            match self.parts.get(part) {
                Some(Part::Any) => {
                    retry = Some((part, at));
                    part += 1;
                }
                Some(one) if one.takes(chars[at]) => {
                    part += 1;
                    at += 1;
                }
                _ => {
                    let Some((star, from)) = retry else { return false };
                    retry = Some((star, from + 1));
                    (part, at) = (star + 1, from + 1);
                }
            }
        }
        self.parts[part..].iter().all(|part| *part == Part::Any)
    }
}

impl Part {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Char(own) => *own == c,
            Self::Set { ranges, negated } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// The set that starts at the `[`, and how many characters it takes.
fn set(chars: &[char]) -> Option<(Part, usize)> {
    let negated = matches!(chars.get(1), Some('!' | '^'));
    let start = 1 + usize::from(negated);
    let mut ranges = Vec::new();
    let mut at = start;
    loop {
        let low = *chars.get(at)?;
        if low == ']' && at > start {
            return Some((Part::Set { ranges, negated }, at + 1));
        }
        let range = chars.get(at + 1) == Some(&'-') && chars.get(at + 2).is_some_and(|c| *c != ']');
        let high = if range { chars[at + 2] } else { low };
        ranges.push((low, high));
        at += if range { 3 } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let cases = [
            ("*", "", true),
            ("*", "a/b", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("?", "ß", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a]", "b", true),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("[a-]", "-", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("", "", true),
            ("", "a", false),
            ("fn-*-[0-9]", "fn-a-b-7", true),
        ];
        for (pattern, text, want) in cases {
            assert_eq!(Wildcard::new(pattern).matches(text), want, "{pattern} {text}");
        }
    }
}
