//! `secret`, `namespace`, `version`, `completion`.

use serde_json::json;

use crate::gateway::Gateway;
use crate::run::Home;

#[test]
fn secrets_from_literals_files_and_stdin() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url).file("value", "from file\n");
    let run = home.run("secret create a -n dev --from-literal x");
    assert_eq!(run.good(), "Created: 202 Accepted\n");
    home.run("secret create a --from-file value").good();
    home.run("secret update a --from-file value --trim=false").good();
    home.pipe("secret create a", "piped\n").good();
    home.run("secret remove a -n dev").good();
    let requests = gateway.requests();
    let body = |i: usize| requests[i].json();
    let want = json!({"name": "a", "namespace": "dev", "value": "x", "rawValue": "eA=="});
    assert_eq!(body(0), want);
    assert_eq!(body(1)["value"], "from file");
    assert_eq!((&body(2)["value"], &*requests[2].method), (&json!("from file\n"), "PUT"));
    assert_eq!(body(3)["value"], "piped");
    assert_eq!(requests[4].line(), "DELETE /system/secrets?namespace=dev");
    assert_eq!(body(4), json!({"name": "a", "namespace": "dev"}));
    home.run("secret create a --from-literal x --from-file y").bad(2, &["cannot be used with"]);
    home.run("secret create a --from-file nope").bad(1, &["cannot read the secret from nope"]);
    home.run("secret create a").bad(1, &["the secret's value is empty"]);
}

#[test]
fn secrets_that_exist_or_do_not() {
    let gateway = Gateway::new(|r| if r.method == "POST" { 409 } else { 202 });
    let home = Home::new(&gateway.url);
    let run = home.run("secret create a --from-literal x");
    run.bad(1, &["secret a exists already", "--replace"]);
    home.run("secret create a --from-literal x --replace").good();
    assert_eq!(gateway.requests().last().unwrap().method, "PUT");
    let gateway = Gateway::always(404, "");
    Home::new(&gateway.url).run("secret rm a").bad(1, &["no such secret: a"]);
}

#[test]
fn secrets_are_listed_and_applied() {
    let gateway = Gateway::always(200, r#"[{"name":"b"},{"name":"a","namespace":"dev"}]"#);
    let home = Home::new(&gateway.url);
    assert_eq!(home.run("secret list").good(), "NAME\na\nb\n");
    assert!(home.run("secret ls --output json").good().contains("\"name\": \"b\""));
    let none = Gateway::always(200, "[]");
    assert!(Home::new(&none.url).run("secret list").stderr.contains("No secrets found."));

    let gateway = Gateway::new(|r| if r.method == "POST" { 409 } else { 202 });
    let stack = "provider: {name: openfaas}\nfunctions:\n  a: {image: i, secrets: [k]}\n  \
                 b: {image: i, secrets: [k, l]}\n";
    let home = Home::new(&gateway.url).file("stack.yml", stack).file(".secrets/k", "v\n");
    let run = home.run("secret apply");
    run.bad(1, &[".secrets/l", "1 of 2 could not be applied"]);
    assert_eq!(gateway.lines(), ["POST /system/secrets", "PUT /system/secrets"]);
}

#[test]
fn namespaces() {
    let gateway = Gateway::new(|r| match (&*r.method, &*r.path) {
        ("GET", "/system/namespaces") => (200, r#"["dev","openfaas-fn"]"#),
        ("GET", "/system/namespace/dev") => (200, r#"{"name":"dev","labels":{"a":"b"}}"#),
        ("GET", _) => (404, ""),
        _ => (202, ""),
    });
    let home = Home::new(&gateway.url);
    assert_eq!(home.run("namespace list").good(), "Namespaces:\n - dev\n - openfaas-fn\n");
    assert_eq!(home.run("ns get dev").good(), "Name:        dev\nLabels:      a: b\n");
    home.run("ns get nope").bad(1, &["no such namespace: nope"]);
    home.run("ns create new -l a=b").good();
    home.run("ns update new --annotation c=d").good();
    home.run("ns remove new").good();
    let changes = &gateway.requests()[3..];
    let lines: Vec<_> = changes.iter().map(crate::gateway::Request::line).collect();
    let path = "/system/namespace/";
    assert_eq!(
        lines,
        [format!("POST {path}"), format!("PUT {path}new"), format!("DELETE {path}new")]
    );
    let want = json!({"name": "new", "labels": {"a": "b", "openfaas": "1"},
        "annotations": {"openfaas": "1"}});
    assert_eq!(changes[0].json(), want);
    let gateway = Gateway::always(409, "");
    Home::new(&gateway.url).run("ns create a").bad(1, &["namespace a exists already"]);
}

#[test]
fn versions_whatever_the_gateway_says() {
    let info = r#"{"provider":{"provider":"flint-docker","orchestration":"docker",
        "version":{"sha":"abc","release":"1.2"}},"version":{"sha":"def","release":"1.3"}}"#;
    let gateway = Gateway::new(move |_| (200, info));
    let home = Home::new(&gateway.url);
    assert_eq!(home.run("version --short-version").good().trim(), env!("CARGO_PKG_VERSION"));
    let text = home.run("version").good().to_owned();
    assert!(text.contains(" orchestration: docker\n") && text.contains("1.3"), "{text}");
    assert!(home.run("version --json").good().contains("\"provider\": \"flint-docker\""));
    for odd in ["{}", "null", r#"{"provider":null}"#, "not json"] {
        let gateway = Gateway::always(200, odd);
        assert!(Home::new(&gateway.url).run("version").good().starts_with("CLI:"));
    }
    let run = Home::new("http://127.0.0.1:1").run("version");
    assert!(run.good().contains(env!("CARGO_PKG_VERSION")));
    assert!(run.stderr.contains("no gateway answers"));
}

#[test]
fn completions_for_each_shell() {
    let home = Home::new("http://127.0.0.1:1");
    for shell in ["bash", "zsh", "fish", "--shell zsh"] {
        assert!(home.run(&format!("completion {shell}")).good().contains("deploy"), "{shell}");
    }
    home.run("completion").bad(2, &["Usage"]);
    home.run("completion tcsh").bad(2, &["possible values"]);
}
