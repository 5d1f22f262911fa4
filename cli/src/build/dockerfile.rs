//! What a Dockerfile says that matters before it is built.

use std::collections::{BTreeMap, BTreeSet};

/// The name of the watchdog's binary in a build context.
pub(crate) const WATCHDOG: &str = "fwatchdog";

/// The instructions of a Dockerfile: comments gone, continued lines joined.
fn instructions(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        open.push_str(line.trim_end_matches('\\'));
        if line.ends_with('\\') {
            open.push(' ');
        } else {
            all.push(std::mem::take(&mut open));
        }
    }
    all.push(open);
    all
}

/// Whether it copies the watchdog from the build context.
pub(crate) fn wants_watchdog(text: &str) -> bool {
    let is_copy = |words: &[&str]| {
        let verb = words
            .first()
            .is_some_and(|v| v.eq_ignore_ascii_case("copy") || v.eq_ignore_ascii_case("add"));
        verb && !words.iter().any(|word| word.starts_with("--from="))
    };
    instructions(text).iter().any(|line| {
        let line = line.replace(['[', ']', ',', '"'], " ");
        let words: Vec<&str> = line.split_whitespace().collect();
        let sources = words.len().saturating_sub(1);
        is_copy(&words)
            && words[..sources].iter().any(|word| word.trim_start_matches("./") == WATCHDOG)
    })
}

/// The images that it stands on, as far as they can be known before it is built.
pub(crate) fn base_images(text: &str, arguments: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut stages = BTreeSet::new();
    let mut images = BTreeSet::new();
    for line in instructions(text) {
        let words: Vec<&str> =
            line.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        match words.as_slice() {
            [verb, rest @ ..] if verb.eq_ignore_ascii_case("arg") && images.is_empty() => {
                let pairs = rest.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                values.extend(pairs.map(|(key, value)| {
                    let default = value.trim_matches(['"', '\'']).to_owned();
                    (key.to_owned(), arguments.get(key).cloned().unwrap_or(default))
                }));
            }
            [verb, image, rest @ ..] if verb.eq_ignore_ascii_case("from") => {
                let image = expand(image, &values);
                if !stages.contains(&image.to_lowercase()) && image != "scratch" {
                    images.insert(image);
                }
                stages.extend(rest.get(1).map(|stage| stage.to_lowercase()));
            }
            _ => {}
        }
    }
    images.retain(|image| !image.is_empty() && !image.contains('$'));
    images
}

/// Replaces `$NAME` and `${NAME}`. Other forms stay, and the image is then not known.
fn expand(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut out = text.to_owned();
    for (key, value) in values.iter().rev() {
        out = out.replace(&format!("${{{key}}}"), value).replace(&format!("${key}"), value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_wanted_when_it_is_copied() {
        let cases = [
            ("COPY fwatchdog /usr/bin/fwatchdog", true),
            ("copy --chmod=755 ./fwatchdog /usr/bin/", true),
            ("COPY [\"fwatchdog\", \"/usr/bin/\"]", true),
            ("COPY a \\\n  fwatchdog \\\n /usr/bin/", true),
            ("COPY --from=watchdog /fwatchdog /usr/bin/fwatchdog", false),
            ("COPY --from=w fwatchdog fwatchdog", false),
            ("COPY x /fwatchdog", false),
            ("COPY x fwatchdog", false),
            ("# COPY fwatchdog /", false),
            ("CMD [\"fwatchdog\"]", false),
            ("COPY . .", false),
        ];
        for (text, want) in cases {
            assert_eq!(wants_watchdog(text), want, "{text}");
        }
    }

    #[test]
    fn images_below() {
        let text = "# syntax=x\nARG BASE=node:22\nARG TAG=\"1\"\nFROM --platform=linux/amd64 ${BASE} AS Base\n\
                    FROM base AS next\nFROM h:5000/x:$TAG\nFROM scratch\nFROM ${A:-b}\nARG BASE=late\n";
        let images = |arguments: &[(&str, &str)]| {
            let arguments = arguments.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            base_images(text, &arguments.collect()).into_iter().collect::<Vec<_>>()
        };
        assert_eq!(images(&[]), ["h:5000/x:1", "node:22"]);
        assert_eq!(images(&[("BASE", "me/n"), ("TAG", "2")]), ["h:5000/x:2", "me/n"]);
    }
}
