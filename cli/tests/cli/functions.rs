//! `list`, `describe`, `remove`, `scale`, `ready`, `logs`, `generate`.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use crate::gateway::Gateway;
use crate::run::Home;

const TWO: &str = r#"[
    {"name":"b","image":"flint/b:1","namespace":"dev","invocationCount":3,"replicas":1,
     "availableReplicas":1,"createdAt":"2026-01-02T03:04:05Z"},
    {"name":"a","image":"flint/a:1","namespace":"dev"}]"#;

#[test]
fn list_prints_a_table_names_or_json() {
    let gateway = Gateway::always(200, TWO);
    let home = Home::new(&gateway.url);
    let table = home.run("list -n dev");
    let lines: Vec<Vec<&str>> =
        table.good().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["Function", "Invocations", "Replicas"]);
    assert_eq!((lines[1][0], lines[2].clone()), ("a", vec!["b", "3", "1"]));
    assert_eq!(gateway.lines(), ["GET /system/functions?namespace=dev"]);
    assert_eq!(home.run("ls -q --sort invocations").good(), "b\na\n");
    assert!(home.run("list -v").good().contains("flint/b:1"));
    for line in ["list --json", "list --output json", "list -o json", "list --json=true"] {
        let all: serde_json::Value = serde_json::from_str(home.run(line).good()).unwrap();
        assert_eq!(all[1]["invocationCount"], 3);
    }
    let none = Gateway::always(200, "null");
    assert_eq!(Home::new(&none.url).run("list -q").good(), "");
}

#[test]
fn describe_shows_one_function_with_the_count_of_the_list() {
    let gateway = Gateway::new(|r| match &*r.path {
        "/system/functions?namespace=dev" => (200, TWO),
        "/system/function/b?usage=1&namespace=dev" => {
            (200, r#"{"name":"b","image":"flint/b:1","availableReplicas":1,"replicas":1}"#)
        }
        _ => (404, ""),
    });
    let home = Home::new(&gateway.url);
    let run = home.run("describe b -n dev");
    assert!(run.good().contains("Status:             Ready\n"));
    assert!(run.good().contains("Invocations:        3\n"));
    assert!(run.good().contains(&format!("{}/async-function/b.dev\n", gateway.url)));
    assert!(home.run("describe b.dev --json").good().contains("\"image\": \"flint/b:1\""));
    home.run("describe c").bad(1, &["error: no such function: c", "hint: "]);
    home.run("describe ../c").bad(2, &["not a function's name"]);
}

#[test]
fn describe_tells_how_a_function_is_scaled() {
    let gateway = Gateway::new(|r| match &*r.path {
        "/system/function/b?usage=1&namespace=dev" | "/system/function/old?usage=1" => {
            (200, r#"{"name":"b","image":"flint/b:1"}"#)
        }
        "/system/function/b/scaling?namespace=dev" => (
            200,
            r#"{"name":"b","replicas":3,"decisions":[{"last":"2026-01-02T03:04:05Z","count":7,
                "decision":{"cause":"load","from":1,"to":3,"reason":"more load"}}]}"#,
        ),
        _ => (404, ""),
    });
    let home = Home::new(&gateway.url);
    let run = home.run("describe b -n dev --scaling");
    assert!(run.good().contains("2026-01-02 03:04:05  7      load   1 -> 3"), "{}", run.good());
    assert!(home.run("describe b.dev --scaling --json").good().contains("\"count\": 7"));
    home.run("describe old --scaling").bad(1, &["does not tell how it scales", "hint: "]);
    home.run("describe gone --scaling").bad(1, &["error: no such function: gone"]);
}

#[test]
fn the_stack_says_in_which_namespace_a_function_is() {
    let gateway = Gateway::always(200, r#"{"name":"b","image":"i","invocationCount":0}"#);
    let stack = "provider: {name: openfaas}\nfunctions: {b: {image: i, namespace: dev}}\n";
    Home::new(&gateway.url).file("stack.yaml", stack).run("describe b").good();
    assert_eq!(gateway.lines(), ["GET /system/function/b?usage=1&namespace=dev"]);
}

#[test]
fn remove_by_name_and_by_stack() {
    let gateway = Gateway::always(202, "");
    let stack = "provider: {name: openfaas}\nfunctions: {b: {image: i, namespace: dev}}\n";
    let home = Home::new(&gateway.url).file("s.yml", stack);
    assert_eq!(home.run("rm a -n x").good(), "Removing old function.\n");
    home.run("remove -f s.yml").good();
    let requests = gateway.requests();
    assert_eq!(requests[0].line(), "DELETE /system/functions?namespace=x");
    assert_eq!(requests[0].json(), json!({"functionName": "a", "namespace": "x"}));
    assert_eq!(requests[1].json(), json!({"functionName": "b", "namespace": "dev"}));

    let gateway = Gateway::always(404, "");
    let home = Home::new(&gateway.url);
    home.run("delete a").bad(1, &["error: No existing function to remove: a"]);
    home.run("remove").bad(2, &["nothing is named"]);
    let gateway = Gateway::always(500, "boom");
    let run = Home::new(&gateway.url).run("remove a");
    run.bad(1, &["Server returned unexpected status code 500 boom"]);
}

#[test]
fn scale() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url);
    assert_eq!(home.run("scale a 3 -n dev").good(), "Scaled a to 3. 202 Accepted.\n");
    let [request] = &gateway.requests()[..] else { panic!() };
    assert_eq!(request.line(), "POST /system/scale-function/a?namespace=dev");
    let want = json!({"serviceName": "a", "replicas": 3, "namespace": "dev"});
    assert_eq!(request.json(), want);
    home.run("scale a many").bad(2, &["many"]);
    let gateway = Gateway::always(404, "");
    Home::new(&gateway.url).run("scale a 1").bad(1, &["no such function: a"]);
}

#[test]
fn ready_asks_until_it_is_or_gives_up() {
    let gateway = Gateway::always(200, r#"{"name":"a","availableReplicas":1}"#);
    let home = Home::new(&gateway.url);
    assert!(home.run("ready").good().ends_with("is ready\n"));
    assert_eq!(home.run("ready a").good(), "Function a is ready\n");
    assert_eq!(gateway.lines(), ["GET /healthz", "GET /system/function/a?usage=1"]);
    let gateway = Gateway::always(503, "");
    let run = Home::new(&gateway.url).run("ready --attempts 2 --interval 10ms");
    run.bad(1, &["[2/2]", "is not ready after 2 attempts"]);
    assert_eq!(gateway.requests().len(), 2);
}

#[test]
fn logs_are_printed_as_they_are_wanted() {
    let gateway = Gateway::always(
        200,
        "{\"name\":\"a\",\"instance\":\"a-1\",\"timestamp\":\"2026-01-02T03:04:05Z\",\"text\":\"one\\n\"}\n\
         {\"name\":\"a\",\"instance\":\"a-1\",\"timestamp\":\"2026-01-02T03:04:06Z\",\"text\":\"two\"}",
    );
    let home = Home::new(&gateway.url);
    let want = "2026-01-02T03:04:05Z one\n2026-01-02T03:04:06Z two\n";
    assert_eq!(home.run("logs a --lines 5 --tail=false").good(), want);
    let line = "logs a --since-time 2026-01-01T00:00:00Z --instance --name --time-format= -n dev";
    assert_eq!(home.run(line).good(), "a (a-1) one\na (a-1) two\n");
    assert!(home.run("logs a -o json").good().starts_with("{\"name\":\"a\""));
    assert!(home.run("logs a -o keyvalue").good().starts_with("timestamp=\"2026"));
    let lines = gateway.lines();
    assert_eq!(lines[0], "GET /system/logs?name=a&follow=false&tail=5");
    assert!(lines[1].contains("&namespace=dev&since=2026-01-01T00%3A00%3A00Z"), "{}", lines[1]);
    home.run("logs a --since 5m --since-time 2026-01-01T00:00:00Z").bad(2, &["--since"]);
    home.run("logs a --since soon").bad(2, &["must be a duration"]);
    let gateway = Gateway::always(404, "no such function");
    Home::new(&gateway.url).run("logs a").bad(1, &["cannot read the logs of a", "404"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let gateway = Gateway::new(|_| {
        let line = "{\"name\":\"a\",\"timestamp\":\"2026-01-02T03:04:05Z\",\"text\":\"x\"}\n";
        (200, Box::leak(line.repeat(50_000).into_boxed_str()) as &str)
    });
    let home = Home::new(&gateway.url);
    let mut command = home.command("logs a");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn generate_prints_no_object_without_an_image() {
    let stack = "provider: {name: openfaas}\nfunctions: {a: {lang: node22, handler: ./a}}\n";
    let home = Home::new("http://127.0.0.1:1").file("stack.yml", stack);
    home.run("generate").bad(1, &["function a has no image", "hint: set `image:`"]);
}

#[test]
fn generate_prints_objects() {
    let stack = "provider: {name: openfaas}\nfunctions:\n  a: {image: i, handler: ./a}\n  \
                 b: {image: j, namespace: dev}\n";
    let home = Home::new("http://127.0.0.1:1").file("stack.yml", stack);
    let run = home.run("generate --api openfaas.com/v2 -l x=y");
    let docs: Vec<&str> = run.good().split("---\n").skip(1).collect();
    assert!(docs[0].starts_with("apiVersion: openfaas.com/v2\nkind: Function\n"), "{docs:?}");
    assert!(docs[0].contains("namespace: openfaas-fn") && docs[0].contains("x: y"));
    assert!(docs[1].contains("namespace: dev"));
}

/// A program in the gateway's place.
fn with_gateway(home: Home, script: &str) -> Home {
    let home = home.file("gw", &format!("#!/bin/sh\n{script}\n"));
    let program = home.path("gw");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.to_string_lossy().into_owned();
    home.env("FAAS_GATEWAY", &program)
}

#[test]
fn generate_has_plain_manifests_rendered_by_the_gateways_program() {
    let stack = "provider: {name: openfaas}\nfunctions:\n  a: {image: i, handler: ./a}\n  \
                 b: {image: j, namespace: dev}\n";
    let home = || Home::new("http://127.0.0.1:1").file("stack.yml", stack);
    let run = with_gateway(home(), "echo \"$@\"; cat").run("generate --api apps/v1 -l x=y");
    let lines: Vec<&str> = run.good().lines().collect();
    assert_eq!(lines[0], "--provider kubernetes manifests");
    let read: Vec<serde_json::Value> =
        lines[1..].iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&read[0]["service"], &read[0]["namespace"]), (&"a".into(), &"openfaas-fn".into()));
    assert_eq!((&read[1]["image"], &read[1]["namespace"]), (&"j".into(), &"dev".into()));
    assert_eq!(read[1]["labels"]["x"], "y");

    let refuses = "cat >/dev/null; echo 'error: line 2: image: is odd' >&2; exit 1";
    let run = with_gateway(home(), refuses).run("generate --api apps/v1");
    run.bad(1, &["function b: image: is odd"]);
    let run = with_gateway(home(), "exit 3").run("generate --api apps/v1");
    run.bad(1, &["ended with exit status: 3", "hint: is it of this version?"]);
    let run = home().env("FAAS_GATEWAY", "/none").run("generate --api apps/v1");
    run.bad(
        1,
        &["the program faas-gateway is not found", "or write objects with --api flint.dev/v1"],
    );
}
