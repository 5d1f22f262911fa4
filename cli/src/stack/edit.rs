//! Adds a function to a stack file's text, and leaves the rest as it is.

use super::parse::parse;
use super::{Stack, StackError};

/// A function to be written.
#[derive(Clone, Debug, Default)]
pub struct NewFunction {
    /// Its name.
    pub name: String,
    /// Its template.
    pub lang: String,
    /// The folder of its source.
    pub handler: String,
    /// Its image.
    pub image: String,
    /// Most memory and processor.
    pub limits: Amounts,
    /// Memory and processor to set aside.
    pub requests: Amounts,
}

/// Memory and processor, as Kubernetes writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Memory.
    pub memory: Option<String>,
    /// Processor.
    pub cpu: Option<String>,
}

/// The text of a new stack file with one function.
pub fn create(gateway: &str, function: &NewFunction) -> String {
    let head = "version: 1.0\nprovider:\n  name: openfaas\n  gateway: ";
    format!("{head}{}\nfunctions:\n{}", scalar(gateway), block(function, "  "))
}

/// The text of a stack file with one more function.
///
/// Refuses when a function of that name is there, and when the text is such that the function
/// cannot be put in its place by adding lines.
pub fn append(file: &str, text: &str, function: &NewFunction) -> Result<String, StackError> {
    let before = parse(file, text)?;
    let key = format!("functions.{}", function.name);
    if before.function(&function.name).is_some() {
        return Err(StackError::new(file, key, "is there already"));
    }
    let after = insert(text, function);
    let grown = |stack: &Stack| {
        let same = before.functions.iter().all(|old| stack.function(&old.name) == Some(old));
        let new = stack.function(&function.name);
        same && new.is_some_and(|new| new.image == function.image)
    };
    match parse(file, &after) {
        Ok(stack) if grown(&stack) => Ok(after),
        _ => {
            let reason =
                "cannot be added: `functions:` is written in an unusual way; add it by hand";
            Err(StackError::new(file, key, reason))
        }
    }
}

/// Puts the function after the last line that belongs to `functions:`.
fn insert(text: &str, function: &NewFunction) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_blank = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let Some(start) = lines.iter().position(|line| line.trim_end() == "functions:") else {
        return format!("{}\nfunctions:\n{}", text.trim_end(), block(function, "  "));
    };
    let inside = |line: &&str| is_blank(line) || line.starts_with(' ');
    let length = lines[start + 1..].iter().take_while(|line| inside(line)).count();
    let body = &lines[start + 1..start + 1 + length];
    let last = body.iter().rposition(|line| !is_blank(line)).map_or(0, |last| last + 1);
    let first = body.iter().find(|line| !is_blank(line));
    let indent = first.map_or("  ", |line| &line[..line.len() - line.trim_start().len()]);
    let mut out: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    out.insert(start + 1 + last, block(function, indent).trim_end().to_owned());
    out.join("\n") + "\n"
}

fn block(function: &NewFunction, indent: &str) -> String {
    let mut out = format!("{indent}{}:\n", function.name);
    let keys =
        [("lang", &function.lang), ("handler", &function.handler), ("image", &function.image)];
    for (key, value) in keys {
        out.push_str(&format!("{indent}  {key}: {}\n", scalar(value)));
    }
    for (key, amounts) in [("requests", &function.requests), ("limits", &function.limits)] {
        let given = [("cpu", &amounts.cpu), ("memory", &amounts.memory)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        for (index, (name, value)) in given.enumerate() {
            if index == 0 {
                out.push_str(&format!("{indent}  {key}:\n"));
            }
            out.push_str(&format!("{indent}    {name}: {}\n", scalar(value)));
        }
    }
    out
}

/// The value on one line; quoted when it would be read as something else. Variables in it stay
/// variables: a prefix such as `${PREFIX:-me}` is meant as one.
fn scalar(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@${}=".contains(c);
    let odd = value.is_empty()
        || !value.chars().all(plain)
        || value.starts_with(['{', '-', '@', ':', '='])
        || value.ends_with(':');
    if odd { serde_json::Value::from(value).to_string() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str) -> NewFunction {
        NewFunction {
            name: name.to_owned(),
            lang: "node22".to_owned(),
            handler: format!("./{name}"),
            image: format!("{name}:latest"),
            ..NewFunction::default()
        }
    }

    #[test]
    fn a_new_file() {
        let mut hello = function("hello");
        hello.limits.memory = Some("128Mi".to_owned());
        hello.handler = "./größe: 1".to_owned();
        let text = create("http://127.0.0.1:8080", &hello);
        let want = "version: 1.0\nprovider:\n  name: openfaas\n  gateway: http://127.0.0.1:8080\nfunctions:\n  hello:\n    lang: node22\n    handler: \"./größe: 1\"\n    image: hello:latest\n    limits:\n      memory: 128Mi\n";
        assert_eq!(text, want);
        assert_eq!(parse("s", &text).unwrap().functions[0].handler, "./größe: 1");
    }

    #[test]
    fn one_more_function_whatever_is_around_it() {
        let head = "provider:\n  name: openfaas\n";
        let files = [
            "functions:\n  a:\n    image: x\n",
            "functions:\n  a:\n    image: x",
            "functions:\n    a:\n        image: x\n\n# end\nconfiguration:\n  copy: [x]\n",
            "functions:\n# c\n  a:\n    image: x # c\n\n\n",
            "functions:\n",
            "",
        ];
        for body in files {
            let text = format!("{head}{body}");
            let after =
                append("s", &text, &function("b")).unwrap_or_else(|e| panic!("{e}: {text}"));
            let stack = parse("s", &after).unwrap();
            assert_eq!(stack.functions.last().unwrap().name, "b", "{after}");
            assert_eq!(stack.configuration, parse("s", &text).unwrap().configuration);
            let again = append("s", &after, &function("b")).unwrap_err().to_string();
            assert_eq!(again, "s: functions.b: is there already");
        }
        let flow = format!("{head}functions: {{a: {{image: x}}}}\n");
        assert!(append("s", &flow, &function("b")).unwrap_err().to_string().contains("by hand"));
    }
}
