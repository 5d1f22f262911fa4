//! Bodies of requests to the system API, and what their fields hold.

use provider::bundle::{Digest, Reference};
use provider::{Function, Namespace, Scale, Secret};

/// What is taken reads back as itself, and what it holds can be used.
pub fn run(data: &[u8]) {
    if let Ok(function) = Function::from_json(data) {
        self::function(function);
    }
    if let Ok(secret) = Secret::from_json(data) {
        assert!(!secret.name.contains(['/', '\0']) && !secret.name.starts_with('.'));
        let _ = secret.bytes();
    }
    if let Ok(namespace) = Namespace::from_json(data, "") {
        assert!(provider::is_dns_label(&namespace.name), "{namespace:?}");
    }
    if let Ok(text) = std::str::from_utf8(data) {
        reference(text);
    }
}

fn function(mut function: Function) {
    // Never written anywhere.
    function.registry_auth.clear();
    let json = serde_json::to_vec(&function).expect("it is text");
    let back = Function::from_json(&json).expect("what was taken is taken again");
    assert!(back == function, "{} changed", String::from_utf8_lossy(&json));
    if function.validate().is_ok() {
        let name = function.name().expect("it is valid");
        assert!(provider::is_dns_label(name.function()));
        let scale = Scale::from_labels(&function.labels).expect("it is valid");
        assert!(scale.min <= scale.max && scale.initial() <= scale.max, "{scale:?}");
    }
}

fn reference(text: &str) {
    if let Ok(Some(reference)) = Reference::from_image(text) {
        assert_eq!(reference.to_string(), text);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
}
