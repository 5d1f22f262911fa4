//! Stack files, with and without variables.

use cli::stack::{Stack, read_text};
use provider::{Function, is_dns_label};

/// Name of the file, which begins every error.
const FILE: &str = "stack.yml";

/// A stack file is refused with its name, or its functions can be sent.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for variables in [None, Some(&variable as cli::stack::Lookup<'_>)] {
        match read_text(FILE, text, variables) {
            Ok(stack) => functions(&stack),
            Err(error) => assert!(error.to_string().starts_with(FILE), "{error}"),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    let value = match name {
        "A" => "abc",
        "E" => "",
        "L" => return Some("long".repeat(20)),
        "U" => "über",
        "X" => "${A}$$\n- *a",
        _ => return None,
    };
    Some(value.to_owned())
}

fn functions(stack: &Stack) {
    for function in &stack.functions {
        assert!(is_dns_label(&function.name), "{:?}", function.name);
        let mut function = function.clone();
        // What it names would be read.
        function.environment_file.clear();
        let wire = stack.to_function(&function).expect("no file has to be read");
        let json = serde_json::to_vec(&wire).expect("it is text");
        if wire.validate().is_ok() {
            assert!(Function::from_json(&json).is_ok(), "{}", String::from_utf8_lossy(&json));
        }
    }
}
