//! `deploy`: order of calls, flags, stack files, waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::gateway::Gateway;
use crate::run::Home;

const STACK: &str = "
provider:
  name: openfaas
functions:
  echo:
    image: flint/echo:${TAG:-1}
    fprocess: cat
    timeout: 2m
    environment: {a: 1}
    secrets: [key]
  other:
    image: flint/other:1
    namespace: dev
";

#[test]
fn an_update_is_a_put_and_a_new_function_a_post_after_it() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url);
    let line = "deploy --name echo --image flint/echo:1 -e A=b=c -l x=y --annotation n=o \
                --constraint z=1 --secret s --readonly --fprocess cat~-v --cpu-limit 500m \
                --memory-request 64Mi -n dev";
    let run = home.run(line);
    let url = format!("{}/function/echo.dev", gateway.url);
    assert_eq!(run.good(), format!("Deployed. 202 Accepted.\nURL: {url}\n"));
    let [put] = &gateway.requests()[..] else { panic!("{:?}", gateway.lines()) };
    assert_eq!(put.line(), "PUT /system/functions");
    assert_eq!(put.header("user-agent"), Some(concat!("faas/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(put.header("authorization"), None);
    let want = json!({"service": "echo", "image": "flint/echo:1", "namespace": "dev",
        "envProcess": "cat -v", "envVars": {"A": "b=c"}, "labels": {"x": "y"},
        "annotations": {"n": "o"}, "constraints": ["z=1"], "secrets": ["s"],
        "readOnlyRootFilesystem": true, "limits": {"cpu": "500m"},
        "requests": {"memory": "64Mi"}});
    assert_eq!(put.json(), want);

    let gateway = Gateway::new(|r| if r.method == "PUT" { 404 } else { 202 });
    Home::new(&gateway.url).run("deploy --name a --image i").good();
    assert_eq!(gateway.lines(), ["PUT /system/functions", "POST /system/functions"]);
}

#[test]
fn update_and_replace() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url);
    home.run("deploy --name a --image i --update=false").good();
    home.run("deploy --name a --image i --replace").good();
    home.run("deploy --name a --image i --replace=true --update=false").good();
    let replace = ["DELETE /system/functions", "POST /system/functions"];
    let want = [&["POST /system/functions"], &replace[..], &replace[..]].concat();
    assert_eq!(gateway.lines(), want);
    let both = home.run("deploy --name a --image i --replace --update=true");
    both.bad(2, &["error: --update and --replace exclude each other", "hint: "]);

    let gateway = Gateway::always(200, "");
    let run = Home::new(&gateway.url).run("deploy --name a --image i");
    assert!(run.good().starts_with("Function a already exists, attempting rolling-update.\n"));
}

#[test]
fn a_stack_is_deployed_with_its_values_and_those_of_flags() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url).file("stack.yml", STACK).env("TAG", "7");
    home.run("deploy -e a=2").good();
    let bodies: Vec<_> = gateway.requests().iter().map(super::gateway::Request::json).collect();
    assert_eq!(bodies[0]["image"], "flint/echo:7");
    assert_eq!(bodies[0]["envProcess"], "cat");
    assert_eq!(bodies[0]["envVars"], json!({"a": "2"}));
    assert_eq!(bodies[0]["annotations"], json!({"flint.dev/timeout": "2m"}));
    assert_eq!((&bodies[1]["service"], &bodies[1]["namespace"]), (&json!("other"), &json!("dev")));
}

#[test]
fn the_process_of_the_template_fills_in() {
    let gateway = Gateway::always(202, "");
    let stack = "provider: {name: openfaas}\nfunctions:\n  a: {image: i, lang: sh@v1}\n  \
                 b: {image: i, lang: sh, fprocess: cat}\n  c: {image: i, lang: none}\n";
    let home = Home::new(&gateway.url)
        .file("stack.yml", stack)
        .file("template/sh/template.yml", "language: sh\nfprocess: sh handler.sh\n");
    home.run("deploy").good();
    home.run("deploy --filter a --read-template=false").good();
    let processes: Vec<_> =
        gateway.requests().iter().map(|r| r.json()["envProcess"].clone()).collect();
    assert_eq!(processes, [json!("sh handler.sh"), json!("cat"), json!(null), json!(null)]);
}

#[test]
fn filters_choose_functions_and_nothing_chosen_is_an_error() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url).file("sub/s.yml", STACK);
    home.run("deploy -f sub/s.yml --filter o*").good();
    home.run("deploy -f sub/s.yml --regex ^e").good();
    let names: Vec<_> = gateway.requests().iter().map(|r| r.json()["service"].clone()).collect();
    assert_eq!(names, [json!("other"), json!("echo")]);
    home.run("deploy -f sub/s.yml --filter x*").bad(1, &["matches --filter x*", "echo, other"]);
    home.run("deploy -f sub/s.yml --filter a --regex b").bad(2, &["cannot be used with"]);
    home.run("deploy -f none.yml").bad(1, &["none.yml does not exist", "hint: "]);
    home.run("deploy").bad(2, &["error: there is nothing to deploy", "hint: "]);
    home.run("deploy --name a").bad(2, &["--image"]);
}

#[test]
fn one_failure_of_several_is_told_and_the_rest_is_deployed() {
    let gateway = Gateway::new(|r| {
        if r.json()["service"] == "echo" { (400, "secrets: key not found") } else { (202, "") }
    });
    let run = Home::new(&gateway.url).file("stack.yml", STACK).run("deploy");
    run.bad(1, &["message: secrets: key not found", "1 of 2 could not be deployed"]);
    assert!(run.stdout.contains("/function/other.dev"));
}

#[test]
fn refusals_that_a_person_can_mend_say_how() {
    let cases = [
        ("secrets: there is no secret \"k\"", "hint: make it: `faas secret create NAME"),
        ("image: \"node\", which is not on this machine's PATH", "after `faas down`"),
    ];
    for (body, hint) in cases {
        let gateway = Gateway::always(400, body);
        Home::new(&gateway.url).run("deploy --name a --image i").bad(1, &[body, hint]);
    }
}

#[test]
fn a_conflict_has_a_hint_and_the_gateway_of_the_stack_counts() {
    let gateway = Gateway::always(409, "function a already exists");
    let home = Home::new("http://127.0.0.1:1");
    let stack = format!("provider: {{name: openfaas, gateway: \"{}\"}}\n", gateway.url);
    let home = home.file("stack.yml", &format!("{stack}functions: {{a: {{image: i}}}}\n"));
    let run = home.run("deploy --update=false");
    run.bad(1, &["unexpected status: 409, message: function a already exists", "hint: leave out"]);
}

#[test]
fn waiting_ends_when_the_new_generation_is_ready() {
    let polls = AtomicUsize::new(0);
    let gateway = Gateway::new(move |r| {
        if r.method == "PUT" {
            return (202, "");
        }
        let old = r#"{"name":"a","image":"i","replicas":1,"availableReplicas":1,"updatedReplicas":0,"generation":2}"#;
        let new = r#"{"name":"a","image":"i","replicas":1,"updatedReplicas":1,"generation":2}"#;
        (200, if polls.fetch_add(1, Ordering::SeqCst) == 0 { old } else { new })
    });
    let run = Home::new(&gateway.url).run("deploy --name a --image i --wait");
    assert!(run.good().ends_with("Ready: a.\n"), "{run:?}");
    assert!(run.stderr.contains("0 of 1 replicas ready"), "{run:?}");
    assert_eq!(gateway.lines()[1], "GET /system/function/a?usage=1");
}

#[test]
fn waiting_fails_with_the_reason() {
    let gateway = Gateway::new(|r| {
        let seen =
            r#"{"name":"a","replicas":1,"updatedReplicas":0,"reason":"exit code 1: no such file"}"#;
        if r.method == "PUT" { (202, "") } else { (200, seen) }
    });
    let home = Home::new(&gateway.url);
    let run = home.run("deploy --name a --image i --wait --timeout 20s");
    run.bad(1, &["error: function a does not get ready: exit code 1: no such file", "faas logs a"]);

    let run = home.run("deploy --name a --image i --wait --timeout 1s");
    run.bad(1, &["error: function a is not ready after 1s", "caused by: exit code 1"]);
}
