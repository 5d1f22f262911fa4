//! Text to [`Stack`].

use serde::Deserialize;
use serde_yaml::Value;

use provider::{annotation, is_dns_label};

use super::function::{KEYS, Written};
use super::merge::Ordered;
use super::{Configuration, Function, ProviderPart, Stack, StackError, TemplateSource};

/// The only version there is.
const VERSION: &str = "1.0";
/// The only provider there is.
const PROVIDER: &str = "openfaas";

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    provider: Option<ProviderPart>,
    #[serde(default)]
    functions: Option<Ordered<Written>>,
    #[serde(default)]
    configuration: Option<WrittenConfiguration>,
}

#[derive(Default, Deserialize)]
struct WrittenConfiguration {
    #[serde(default)]
    templates: Option<Vec<TemplateSource>>,
    #[serde(default)]
    copy: Option<Vec<String>>,
}

/// Reads a stack file's text, after substitution.
pub(super) fn parse(file: &str, text: &str) -> Result<Stack, StackError> {
    let warnings = warnings(file, text)?;
    let raw: File = serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(text))
        .map_err(|error| at_path(file, &error))?;
    check_version(file, raw.version.as_deref())?;
    let provider = raw.provider.unwrap_or_default();
    check_provider(file, &provider)?;
    let configuration = raw.configuration.unwrap_or_default();
    let mut functions = Vec::new();
    for (name, written) in raw.functions.unwrap_or_default().0 {
        check_name(file, &name)?;
        let function = written.unwrap_or_default().finish(name);
        check_narrowing(file, &function)?;
        functions.push(function);
    }
    let configuration = Configuration {
        templates: configuration.templates.unwrap_or_default(),
        copy: configuration.copy.unwrap_or_default(),
    };
    Ok(Stack { file: file.to_owned(), provider, configuration, functions, warnings })
}

fn at_path(file: &str, error: &serde_path_to_error::Error<serde_yaml::Error>) -> StackError {
    let path = error.path().to_string();
    let key = if path == "." { String::new() } else { path };
    let reason = error.inner().to_string();
    let reason = reason.strip_prefix(&format!("{key}: ")).unwrap_or(&reason);
    StackError::new(file, key.as_str(), reason)
}

fn check_version(file: &str, version: Option<&str>) -> Result<(), StackError> {
    match version {
        None | Some("" | VERSION) => Ok(()),
        Some(other) => {
            let reason = format!("{other:?} is not supported, only {VERSION:?} is");
            Err(StackError::new(file, "version", reason))
        }
    }
}

fn check_provider(file: &str, provider: &ProviderPart) -> Result<(), StackError> {
    match provider.name.as_deref() {
        Some(PROVIDER) => Ok(()),
        Some(other) => {
            let reason = format!("{other:?} is not supported, it must be {PROVIDER:?}");
            Err(StackError::new(file, "provider.name", reason))
        }
        None => Err(StackError::new(
            file,
            "provider.name",
            format!("is missing, it must be {PROVIDER:?}"),
        )),
    }
}

fn check_name(file: &str, name: &str) -> Result<(), StackError> {
    if is_dns_label(name) {
        return Ok(());
    }
    let reason = "a function's name is of a-z, 0-9 and '-', at most 63, and starts and ends with a letter or digit";
    Err(StackError::new(file, format!("functions.{name}"), reason))
}

/// `network` and `sandbox` have one value each.
fn check_narrowing(file: &str, function: &Function) -> Result<(), StackError> {
    let keys =
        [("network", annotation::NETWORK, "none"), ("sandbox", annotation::SANDBOX, "required")];
    for (key, annotation, only) in keys {
        let value = function.annotations.get(annotation).filter(|value| !value.is_empty());
        if let Some(value) = value.filter(|value| *value != only) {
            let key = format!("functions.{}.{key}", function.name);
            return Err(StackError::new(
                file,
                key,
                format!("{value:?} is not {only:?}, its only value"),
            ));
        }
    }
    Ok(())
}

/// Unknown keys of functions: most are typing errors. Also finds keys that are there twice.
fn warnings(file: &str, text: &str) -> Result<Vec<String>, StackError> {
    let root: Value =
        serde_yaml::from_str(text).map_err(|error| StackError::new(file, "", error.to_string()))?;
    if !root.is_mapping() {
        return Err(StackError::new(
            file,
            "",
            "is not a stack file: it has no `provider:` and `functions:`",
        ));
    }
    let functions = root.get("functions").and_then(Value::as_mapping);
    let mut found = Vec::new();
    for (name, function) in functions.into_iter().flatten() {
        let keys = function.as_mapping().into_iter().flat_map(|keys| keys.keys());
        for key in keys.filter_map(Value::as_str).filter(|key| !is_known(key)) {
            let name = name.as_str().unwrap_or("?");
            found.push(format!("{file}: functions.{name}.{key}: unknown key, it has no effect"));
        }
    }
    Ok(found)
}

fn is_known(key: &str) -> bool {
    KEYS.contains(&key) || key.starts_with("x-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "version: 1.0\nprovider:\n  name: openfaas\n  gateway: http://g:1\n";

    fn with(functions: &str) -> Result<Stack, StackError> {
        parse("stack.yml", &format!("{HEAD}functions:\n{functions}"))
    }

    fn error(functions: &str) -> String {
        with(functions).unwrap_err().to_string()
    }

    #[test]
    fn every_key_of_the_contract() {
        let stack = parse("s.yml", include_str!("../../tests/data/full.yml")).unwrap();
        assert_eq!(stack.warnings, Vec::<String>::new());
        assert_eq!(stack.configuration.copy, ["./common"]);
        assert_eq!(stack.configuration.templates[1].source.as_deref(), Some("https://h/t.git#v2"));
        let names: Vec<&str> = stack.functions.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["zeta", "alpha"], "the order of the file");
        let zeta = stack.function("zeta").unwrap();
        assert_eq!(zeta.template(), ("node22", Some("sha-0123abc")));
        assert_eq!(zeta.platforms, "linux/amd64,linux/arm64");
        assert_eq!(zeta.build_args["PYTHON_VERSION"], "3.10");
        assert_eq!(zeta.build_secrets["npm"], ".secrets/npm");
        let wire = stack.to_function(zeta).unwrap();
        let want = serde_json::json!({
            "service": "zeta", "image": "h/zeta:1", "namespace": "dev", "envProcess": "node index.js",
            "envVars": {"debug": "true", "rate": "1.50", "mode": "0755", "empty": "", "nothing": "", "text": "a: b"},
            "constraints": ["node.role == worker"], "secrets": ["key"],
            "labels": {"com.openfaas.scale.min": "2", "on": "yes"},
            "annotations": {"topic": "a", "flint.dev/timeout": "90s", "flint.dev/network": "none",
                "flint.dev/sandbox": "required"},
            "limits": {"memory": "128Mi", "cpu": "1"}, "requests": {"cpu": "0.5"},
            "readOnlyRootFilesystem": true,
        });
        assert_eq!(serde_json::to_value(&wire).unwrap(), want);
    }

    #[test]
    fn merge_keys_fill_in() {
        let text = "  a: &a\n    lang: node22\n    image: a\n    environment: &e {X: 1.10, Y: 2}\n  b:\n    <<: *a\n    image: b\n    environment:\n      <<: *e\n      Y: 3\n  c:\n    <<: [*a]\n";
        let stack = with(text).unwrap();
        let b = stack.function("b").unwrap();
        assert_eq!((b.lang.as_str(), b.image.as_str()), ("node22", "b"));
        assert_eq!((b.environment["X"].as_str(), b.environment["Y"].as_str()), ("1.10", "3"));
        assert_eq!(stack.function("c").unwrap().image, "a");
    }

    #[test]
    fn errors_name_file_function_and_key() {
        let cases = [
            ("  a:\n    labels: x\n", "stack.yml: functions.a.labels: "),
            ("  a:\n    labels:\n      x: [1]\n", "stack.yml: functions.a.labels.x: "),
            ("  a:\n    secrets: one\n", "stack.yml: functions.a.secrets: "),
            ("  a:\n    limits:\n      memory: [1]\n", "stack.yml: functions.a.limits.memory: "),
            ("  a:\n    skip_build: maybe\n", "stack.yml: functions.a.skip_build: "),
            ("  a: 1\n", "stack.yml: functions.a: "),
            ("  a:\n    image: x\n  a:\n    image: y\n", "stack.yml: "),
            ("  A_b:\n    image: x\n", "stack.yml: functions.A_b: "),
            ("  a: {image: x\n", "stack.yml: "),
            ("  [1]: x\n", "stack.yml: "),
        ];
        for (text, want) in cases {
            assert!(error(text).starts_with(want), "{text}: {}", error(text));
        }
        assert!(
            error("  a:\n    labels: x\n").contains("line 7"),
            "{}",
            error("  a:\n    labels: x\n")
        );
        assert!(error("  a:\n    image: x\n  a:\n    image: y\n").contains("duplicate"));
    }

    #[test]
    fn version_and_provider_are_checked() {
        let error = |text: &str| parse("s", text).unwrap_err().to_string();
        assert!(error("version: 1.1\nprovider: {name: openfaas}").starts_with("s: version: "));
        assert!(error("provider: {name: faas}").starts_with("s: provider.name: \"faas\""));
        assert!(error("functions: {}").starts_with("s: provider.name: is missing"));
        assert!(error("").contains("not a stack file"));
        assert!(error("hello").contains("not a stack file"));
        assert!(parse("s", "provider: {name: openfaas}").unwrap().functions.is_empty());
    }

    #[test]
    fn typing_errors_are_warned_of() {
        let stack = with("  a:\n    enviroment: {}\n    x-mine: 1\n").unwrap();
        assert_eq!(
            stack.warnings,
            ["stack.yml: functions.a.enviroment: unknown key, it has no effect"]
        );
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 9].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse("s", &format!("{text}{HEAD}")).is_err());
    }
}
