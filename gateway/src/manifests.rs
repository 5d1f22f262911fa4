//! `faas-gateway manifests`: what functions would be on a cluster, without one.

use std::io::{BufRead, Write};

use provider::Function;
use provider::kubernetes::manifests;

use crate::app::StartError;
use crate::config::Config;

/// Reads functions, a line of JSON each as in the API's deploy request, and writes the objects that
/// this gateway would apply for them, a document of YAML each.
///
/// Nothing is written unless all functions are good.
pub fn run(config: &Config, input: impl BufRead, mut output: impl Write) -> Result<(), StartError> {
    config.validate()?;
    let settings = config.kubernetes_settings();
    let mut text = String::new();
    for (index, line) in input.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let rendered = Function::from_json(line.as_bytes())
            .and_then(|function| manifests(function, &settings))
            .map_err(|source| StartError::Manifest { line: index + 1, source })?;
        text.push_str("---\n");
        text.push_str(&rendered);
    }
    output.write_all(text.as_bytes())?;
    Ok(output.flush()?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn written(flags: &[&str], input: &str) -> Result<String, String> {
        let all = ["faas-gateway", "--provider", "kubernetes"];
        let config = Config::try_parse_from(all.iter().chain(flags)).unwrap();
        let mut output = Vec::new();
        let ended = run(&config, input.as_bytes(), &mut output).map_err(|e| e.to_string());
        let text = String::from_utf8(output).unwrap();
        assert!(ended.is_ok() || text.is_empty(), "{text}");
        ended.map(|()| text)
    }

    #[test]
    fn flags_are_what_the_objects_are_made_with() {
        let input = "{\"service\":\"a\",\"image\":\"i\"}\n\n{\"service\":\"b\",\"image\":\"j\"}\n";
        let usual = written(&[], input).unwrap();
        assert_eq!(usual.matches("kind: Deployment\n").count(), 2);
        assert_eq!(usual.matches("---\n").count(), 4, "two objects each");
        assert!(!usual.contains("httpGet") && !usual.contains("NetworkPolicy"), "{usual}");
        let other = written(&["--http-probe", "--network-policies"], input).unwrap();
        assert!(other.contains("httpGet") && other.contains("kind: NetworkPolicy\n"), "{other}");
    }

    #[test]
    fn an_error_names_the_line() {
        let good = "{\"service\":\"a\",\"image\":\"i\"}\n";
        for (line, words) in [
            ("nonsense", "line 2: "),
            ("{\"service\":\"A_b\",\"image\":\"i\"}", "line 2: service: "),
            (
                "{\"service\":\"b\",\"image\":\"i\",\"annotations\":{\"flint.dev/profile\":\"p\"}}",
                "line 2: flint.dev/profile: ",
            ),
        ] {
            let error = written(&[], &format!("{good}{line}")).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
