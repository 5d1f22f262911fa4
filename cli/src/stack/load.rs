//! Finds and fetches a stack file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::parse::parse;
use super::substitute::substitute;
use super::{Stack, StackError};
use crate::args::Globals;
use crate::error::hinted;
use crate::output::warn;

/// The names that are looked up, in this order.
pub const DEFAULT_FILES: [&str; 2] = ["stack.yaml", "stack.yml"];

/// Largest stack file that is fetched, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Longest time that fetching may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a stack file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On this machine.
    Path(PathBuf),
    /// Behind an http or https URL.
    Url(String),
}

impl Source {
    /// Reads what `-f` was given.
    pub fn new(text: &str) -> Self {
        if text.starts_with("http://") || text.starts_with("https://") {
            Self::Url(text.to_owned())
        } else {
            Self::Path(PathBuf::from(text))
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// The stack file that is meant: the one that was given, else the first default that exists in the
/// folder.
pub fn find(given: Option<&str>, folder: &Path) -> Option<Source> {
    if let Some(given) = given.filter(|text| !text.is_empty()) {
        return Some(Source::new(given));
    }
    let exists = |name: &&&str| folder.join(name).is_file();
    DEFAULT_FILES.iter().find(exists).map(|name| Source::Path(PathBuf::from(name)))
}

/// The stack file that the flags mean, read: `None` when no file was given and none is here.
///
/// Says on stderr what looks like a mistake in it.
pub async fn open(globals: &Globals) -> anyhow::Result<Option<Stack>> {
    let Some(source) = find(globals.yaml.as_deref(), Path::new(".")) else { return Ok(None) };
    let environment = |name: &str| std::env::var(name).ok();
    let stack = load(&source, globals.envsubst.then_some(&environment as Lookup<'_>)).await?;
    stack.warnings.iter().for_each(|warning| warn(warning));
    Ok(Some(stack))
}

/// The same, where a command cannot do without.
pub async fn require(globals: &Globals) -> anyhow::Result<Stack> {
    open(globals).await?.ok_or_else(|| {
        hinted(
            format!("there is no {} here", DEFAULT_FILES.join(" or ")),
            "give the stack file with -f, or make one with `faas new`",
        )
    })
}

/// Finds the value of a variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a stack file; replaces variables when a lookup is given.
pub async fn load(source: &Source, variables: Option<Lookup<'_>>) -> anyhow::Result<Stack> {
    let file = source.to_string();
    let text = match source {
        Source::Path(path) => read(path)?,
        Source::Url(url) => fetch(url).await?,
    };
    Ok(read_text(&file, &text, variables)?)
}

/// Reads a stack file's text; replaces variables when a lookup is given.
pub fn read_text(
    file: &str,
    text: &str,
    variables: Option<Lookup<'_>>,
) -> Result<Stack, StackError> {
    let Some(lookup) = variables else { return parse(file, text) };
    let text =
        substitute(text, lookup).map_err(|error| StackError::new(file, "", error.to_string()))?;
    parse(file, &text)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => hinted(
            format!("{} does not exist", path.display()),
            "give the stack file with -f, or make one with `faas new`",
        ),
        _ => anyhow::anyhow!("{}: {error}", path.display()),
    })?;
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{} is not UTF-8 text", path.display()))
}

async fn fetch(url: &str) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().timeout(FETCH_TIMEOUT).build()?;
    let fetched = || format!("cannot fetch {url}");
    let mut answer = client.get(url).send().await.with_context(fetched)?;
    if !answer.status().is_success() {
        anyhow::bail!("{url} answered {}", answer.status());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.with_context(fetched)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_BYTES {
            anyhow::bail!("{url} is larger than {MAX_BYTES} bytes");
        }
    }
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{url} is not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_comes_before_yml() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(None, folder.path()), None);
        std::fs::write(folder.path().join("stack.yml"), "").unwrap();
        assert_eq!(find(None, folder.path()), Some(Source::new("stack.yml")));
        std::fs::write(folder.path().join("stack.yaml"), "").unwrap();
        assert_eq!(find(None, folder.path()), Some(Source::new("stack.yaml")));
        assert_eq!(find(Some("x.yml"), folder.path()), Some(Source::new("x.yml")));
        assert!(matches!(Source::new("https://h/s.yml"), Source::Url(_)));
    }

    #[tokio::test]
    async fn substitution_environment_files_and_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let extra = path("env.yml");
        let text = format!(
            "provider: {{name: openfaas}}\nfunctions:\n  a:\n    image: ${{TAG:-x}}\n    environment: {{A: 1, B: 2}}\n    environment_file: [{}]\n",
            extra.display()
        );
        std::fs::write(path("s.yml"), text).unwrap();
        let source = Source::Path(path("s.yml"));
        let stack = load(&source, Some(&|_| Some("img".to_owned()))).await.unwrap();
        let function = &stack.functions[0];
        assert_eq!(function.image, "img");
        let error = stack.to_function(function).unwrap_err().to_string();
        assert!(error.contains("s.yml: functions.a.environment_file[0]: "), "{error}");
        std::fs::write(&extra, "environment:\n  B: 3.0\n  C: true\n").unwrap();
        let wire = stack.to_function(function).unwrap();
        let values: Vec<&str> = wire.env_vars.values().map(String::as_str).collect();
        assert_eq!(values, ["1", "3.0", "true"]);
        assert_eq!(load(&source, None).await.unwrap().functions[0].image, "${TAG:-x}");
        let missing = load(&Source::Path(path("no.yml")), None).await.unwrap_err();
        assert!(missing.to_string().ends_with("no.yml does not exist"));
    }
}
