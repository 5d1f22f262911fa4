//! What a Dockerfile says that matters before it is built.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use regex::Regex;

use crate::stack::substitute;

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

/// The images that it needs, as far as they can be known before it is built: those that stages
/// begin with or copy from, and the one that reads the Dockerfile itself.
pub(crate) fn base_images(text: &str, arguments: &BTreeMap<String, String>) -> BTreeSet<String> {
    let mut bases =
        Bases { values: BTreeMap::new(), stages: BTreeSet::new(), images: syntax(text) };
    for line in instructions(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (flags, plain): (Vec<&str>, Vec<&str>) =
            words.into_iter().partition(|word| word.starts_with("--"));
        match plain.split_first() {
            Some((verb, rest)) if verb.eq_ignore_ascii_case("arg") => {
                bases.argument(rest, arguments);
            }
            Some((verb, rest)) if verb.eq_ignore_ascii_case("from") => bases.stage(rest),
            _ => flags
                .iter()
                .filter_map(|flag| flag.strip_prefix("--from="))
                .for_each(|from| bases.copied(from)),
        }
    }
    bases.images
}

/// The image that a first line such as `# syntax=docker/dockerfile:1` names.
fn syntax(text: &str) -> BTreeSet<String> {
    let directives = text.lines().take_while(|line| line.starts_with('#'));
    let value = |line: &str| {
        let (key, value) = line.trim_start_matches('#').split_once('=')?;
        key.trim().eq_ignore_ascii_case("syntax").then(|| value.trim().to_owned())
    };
    directives.filter_map(value).filter(|image| is_image(image)).collect()
}

struct Bases {
    values: BTreeMap<String, String>,
    stages: BTreeSet<String>,
    images: BTreeSet<String>,
}

impl Bases {
    /// Arguments before the first stage are those that `FROM` can use.
    fn argument(&mut self, pairs: &[&str], given: &BTreeMap<String, String>) {
        if !self.stages.is_empty() {
            return;
        }
        for pair in pairs {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let default = value.trim_matches(['"', '\'']).to_owned();
            let value = given.get(key).cloned().unwrap_or(default);
            self.values.insert(key.to_owned(), value);
        }
    }

    fn stage(&mut self, words: &[&str]) {
        let Some((image, rest)) = words.split_first() else { return };
        if let Some(image) = self.expand(image) {
            self.add(&image);
        }
        // Stages can be named by their numbers, too.
        self.stages.insert(self.stages.len().to_string());
        self.stages.extend(rest.get(1).map(|name| name.to_lowercase()));
    }

    fn copied(&mut self, from: &str) {
        if !from.bytes().all(|byte| byte.is_ascii_digit()) {
            self.add(from);
        }
    }

    fn add(&mut self, image: &str) {
        if !self.stages.contains(&image.to_lowercase()) && is_image(image) {
            self.images.insert(image.to_owned());
        }
    }

    /// The text with its arguments; `None` when it uses what is not known here.
    fn expand(&self, text: &str) -> Option<String> {
        let braced = BARE.replace_all(text, "$${$1}");
        substitute(&braced, &|name| self.values.get(name).cloned()).ok()
    }
}

/// `$NAME` without braces.
static BARE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$([A-Za-z_][A-Za-z0-9_]*)").expect("a constant expression"));

fn is_image(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
    text != "scratch"
        && !text.is_empty()
        && text.chars().all(good)
        && !text.starts_with(['/', '-', '.', ':'])
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
        let text = "# syntax=docker/dockerfile:1\n# FROM no\nARG BASE=node:22\nARG TAG=\"1\"\n\
                    FROM --platform=linux/amd64 ${BASE} AS Base\nARG BASE=late\nFROM base AS next\n\
                    FROM h:5000/x:$TAG\nFROM scratch\nFROM ${A:-b:2}\nFROM x${UNSET:+y}\nFROM ${UNSET}\n\
                    COPY --from=next a b\nCOPY --from=0 a b\nCOPY --chown=1 --from=ghcr.io/w:1 /w /w\n";
        let images = |arguments: &[(&str, &str)]| {
            let arguments = arguments.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            base_images(text, &arguments.collect()).into_iter().collect::<Vec<_>>()
        };
        let want = ["b:2", "docker/dockerfile:1", "ghcr.io/w:1", "h:5000/x:1", "node:22"];
        assert_eq!(images(&[]), want);
        assert_eq!(images(&[("BASE", "me/n"), ("TAG", "2")])[3..], ["h:5000/x:2", "me/n"]);
    }
}
