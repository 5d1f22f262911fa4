//! The `local` part of `template.yml`: how a function is built and run without Docker.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::Deserialize;
use serde_yaml::Value;

use crate::stack::{StackError, texts};
use crate::tree::Globs;

/// How a function is built and run without Docker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Local {
    /// Programs that must be on the machine.
    pub programs: Vec<Program>,
    /// What is run in the build folder, in this order.
    pub steps: Vec<Step>,
    /// What looks through changed files before they go live.
    pub check: Vec<Check>,
    /// What of the build folder goes into the bundle; nothing written is everything.
    pub bundle: Vec<String>,
    /// Variables of the watchdog beyond `fprocess`.
    #[serde(deserialize_with = "some_texts")]
    pub environment: BTreeMap<String, String>,
    /// What looks like a mistake in it but stops nothing.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// A program that must be on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Program {
    /// Its file name, looked up on the `PATH`.
    pub name: String,
    /// How to install it.
    pub install: String,
    /// When it is needed.
    pub when: When,
}

/// When a program is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// To build.
    Build,
    /// To run.
    Run,
    /// For both.
    #[default]
    Always,
}

/// A command of the build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// The command; its words are split as a shell does, but no shell is started.
    pub run: String,
    /// The folder it runs in, relative to the build folder.
    #[serde(rename = "in")]
    pub folder: String,
    /// It is skipped when this file is absent.
    #[serde(rename = "if")]
    pub present: Option<String>,
    /// It is skipped when this file is there.
    #[serde(rename = "unless")]
    pub absent: Option<String>,
    /// What its outcome depends on; nothing written means that it runs every time.
    pub inputs: Vec<String>,
    /// What it makes.
    pub outputs: Vec<String>,
    /// Variables of the command.
    #[serde(deserialize_with = "some_texts")]
    pub environment: BTreeMap<String, String>,
}

/// A command that looks through a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Check {
    /// The command; the file is appended.
    pub run: String,
    /// Which files it looks through.
    pub files: Vec<String>,
}

/// Unset is empty.
fn some_texts<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    Ok(texts(from)?.unwrap_or_default())
}

impl Program {
    /// Whether it is needed to build.
    pub fn builds(&self) -> bool {
        self.when != When::Run
    }

    /// Whether it is needed to run.
    pub fn runs(&self) -> bool {
        self.when != When::Build
    }
}

impl Step {
    /// Its words.
    pub fn words(&self) -> Vec<String> {
        shell_words::split(&self.run).unwrap_or_default()
    }

    /// Whether its outcome may be kept for the next time.
    pub fn is_kept(&self) -> bool {
        !self.inputs.is_empty()
    }

    /// Whether nobody knows what it makes.
    pub fn makes_anything(&self) -> bool {
        self.inputs.is_empty() && self.outputs.is_empty()
    }
}

impl Local {
    /// Checks what the types cannot say. An error names the key.
    pub(super) fn check(&mut self, file: &str, text: &str) -> Result<(), StackError> {
        for (index, program) in self.programs.iter().enumerate() {
            let key = format!("local.programs[{index}].name");
            if program.name.is_empty() || program.name.contains('/') {
                let reason = format!("{:?} is not a program's name", program.name);
                return Err(StackError::new(file, key, reason));
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let key = format!("local.steps[{index}]");
            check_words(file, &key, &step.run)?;
            let named = [Some(&step.folder), step.present.as_ref(), step.absent.as_ref()];
            let paths = named.into_iter().flatten().chain(&step.inputs).chain(&step.outputs);
            check_paths(file, &key, paths)?;
            check_globs(file, &key, &[&step.inputs, &step.outputs])?;
        }
        for (index, check) in self.check.iter().enumerate() {
            let key = format!("local.check[{index}]");
            check_words(file, &key, &check.run)?;
            check_globs(file, &key, &[&check.files])?;
        }
        check_paths(file, "local.bundle", self.bundle.iter())?;
        check_globs(file, "local.bundle", &[&self.bundle])?;
        self.warnings = unknown_keys(file, text);
        Ok(())
    }
}

fn check_words(file: &str, key: &str, command: &str) -> Result<(), StackError> {
    let reason = match shell_words::split(command) {
        Ok(words) if !words.is_empty() => return Ok(()),
        Ok(_) => "is missing".to_owned(),
        Err(error) => format!("{command:?} is no command: {error}"),
    };
    Err(StackError::new(file, format!("{key}.run"), reason))
}

fn check_paths<'a>(
    file: &str,
    key: &str,
    paths: impl Iterator<Item = &'a String>,
) -> Result<(), StackError> {
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    for path in paths {
        if !Path::new(path).components().all(inside) {
            let reason = format!("{path:?} is not a path of the build folder");
            return Err(StackError::new(file, key, reason));
        }
    }
    Ok(())
}

fn check_globs(file: &str, key: &str, lists: &[&Vec<String>]) -> Result<(), StackError> {
    for list in lists {
        Globs::new(list).map_err(|error| StackError::new(file, key, error.to_string()))?;
    }
    Ok(())
}

/// The keys that have no effect, as warnings; most are typing errors.
fn unknown_keys(file: &str, text: &str) -> Vec<String> {
    let root: Value = serde_yaml::from_str(text).unwrap_or_default();
    let Some(local) = root.get("local") else { return Vec::new() };
    let known = ["programs", "steps", "check", "bundle", "environment"];
    let mut found = unknown(file, "local", (local, &known));
    let lists: [(&str, &[&str]); 3] = [
        ("programs", &["name", "install", "when"]),
        ("steps", &["run", "in", "if", "unless", "inputs", "outputs", "environment"]),
        ("check", &["run", "files"]),
    ];
    for (name, known) in lists {
        let items = local.get(name).and_then(Value::as_sequence).into_iter().flatten();
        for (index, item) in items.enumerate() {
            found.extend(unknown(file, &format!("local.{name}[{index}]"), (item, known)));
        }
    }
    found
}

fn unknown(file: &str, at: &str, (value, known): (&Value, &[&str])) -> Vec<String> {
    let keys = value.as_mapping().into_iter().flat_map(|keys| keys.keys());
    let keys = keys.filter_map(Value::as_str).filter(|key| !known.contains(key));
    let known = |key: &&str| !key.starts_with("x-");
    let text = |key| format!("{file}: {at}.{key}: unknown key, it has no effect");
    keys.filter(known).map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Manifest;
    use super::*;

    fn parse(local: &str) -> anyhow::Result<Local> {
        let text = format!("fprocess: x\nlocal:\n{local}");
        Ok(Manifest::parse(&text, Path::new("template.yml"))?.local.unwrap())
    }

    #[test]
    fn every_key() {
        let local = parse(
            "  programs:\n  - {name: node, install: Node, when: run}\n  - name: npm\n  steps:\n  \
             - run: npm ci 'a b'\n    in: function\n    if: function/package.json\n    \
             unless: x\n    inputs: [function/*.json]\n    outputs: [function/node_modules]\n    \
             environment: {A: 1.10, B: '${cache}'}\n  check:\n  - run: node --check\n    \
             files: ['**/*.js']\n  bundle: ['**']\n  environment: {mode: http, n: 3}\n  x-a: 1\n",
        )
        .unwrap();
        assert_eq!(local.warnings, Vec::<String>::new());
        assert_eq!(local.steps[0].words(), ["npm", "ci", "a b"]);
        assert_eq!(local.steps[0].absent.as_deref(), Some("x"));
        assert_eq!(local.steps[0].environment["A"], "1.10");
        assert_eq!(local.environment["n"], "3");
        assert!(!local.programs[0].builds() && local.programs[0].runs());
        assert!(local.programs[1].builds() && local.programs[1].runs());
    }

    #[test]
    fn mistakes_are_named() {
        for (local, key) in [
            ("  steps: [{run: ''}]", "local.steps[0].run: is missing"),
            ("  steps: [{run: \"a 'b\"}]", "local.steps[0].run: "),
            ("  steps: [{run: a, in: ../x}]", "local.steps[0]: \"../x\""),
            ("  steps: [{run: a, outputs: [/x]}]", "local.steps[0]: \"/x\""),
            ("  steps: [{run: a, inputs: ['a[']}]", "local.steps[0]: "),
            ("  check: [{files: [a]}]", "local.check[0].run: is missing"),
            ("  programs: [{name: /bin/sh}]", "local.programs[0].name: \"/bin/sh\""),
            ("  programs: [{name: a, when: never}]", "local.programs[0].when: "),
            ("  bundle: [../..]", "local.bundle: "),
        ] {
            let error = parse(local).unwrap_err().to_string();
            assert!(error.contains(key), "{local}: {error}");
        }
        let warned = parse("  step: []\n  steps: [{run: a, output: [x]}]\n").unwrap().warnings;
        let end = "unknown key, it has no effect";
        let want = ["local.step", "local.steps[0].output"];
        assert_eq!(warned, want.map(|key| format!("template.yml: {key}: {end}")));
    }
}
