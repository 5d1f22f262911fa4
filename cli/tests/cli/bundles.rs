//! `up`, `build`, `deploy`, `push` and `down` where functions run as processes, against a gateway
//! that only takes what it is given.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use crate::gateway::{Gateway, Reply, Request};
use crate::run::Home;

const STACK: &str = "provider: {name: openfaas}\nfunctions:\n  \
    a: {lang: sh, handler: ./a ü, network: none, sandbox: required, build_args: {X: 1.10}}\n  \
    image: {image: some/image:1, skip_build: true}\n  \
    old: {lang: old, handler: ./a ü}\n  \
    poor: {lang: poor, handler: ./a ü}\n  \
    own: {lang: Dockerfile, handler: ./a ü}\n";

const SH: &str = "fprocess: sh index.sh\nlocal:\n  programs: [{name: sh}]\n  steps:\n  \
    - run: sh -c 'echo $X > made'\n    inputs: [function]\n    outputs: [made]\n  \
    environment: {mode: streaming}\n  stepps: []\n";

const POOR: &str = "fprocess: x\nlocal:\n  programs:\n  \
    - {name: no-node, install: Node.js 20}\n  - {name: no-npm, install: npm}\n";

/// A gateway of processes; every function is ready at once.
pub(crate) fn gateway() -> Gateway {
    let bundles = Mutex::new(BTreeSet::new());
    let text = |status: u16, body: &str| Reply(status, String::new(), body.into());
    Gateway::new(move |request: &Request| {
        let path = request.path.split('?').next().unwrap_or_default();
        let method = request.method.as_str();
        match (method, path.strip_prefix("/system/").unwrap_or_default()) {
            (_, "info") => text(200, r#"{"provider":{"provider":"flint-process"}}"#),
            ("HEAD", digest) if bundles.lock().unwrap().contains(digest) => text(200, ""),
            ("HEAD", _) => text(404, ""),
            ("PUT", digest) if digest.starts_with("bundles/") => {
                bundles.lock().unwrap().insert(digest.to_owned());
                text(201, "")
            }
            ("PUT", _) => text(202, ""),
            ("GET", rest) if rest.starts_with("logs") => text(200, ""),
            _ => text(200, r#"{"name":"a","replicas":1,"updatedReplicas":1}"#),
        }
    })
}

/// A project on that gateway, whose home cannot be written.
pub(crate) fn project(url: &str) -> Home {
    let home = Home::new(url)
        .file("stack.yml", STACK)
        .file("template/sh/template.yml", SH)
        .file("template/sh/Dockerfile", "FROM scratch\n")
        .file("template/sh/index.sh", "cat function/handler.sh made")
        .file("template/old/template.yml", "fprocess: x\n")
        .file("template/poor/template.yml", POOR)
        .file("a ü/handler.sh", "one")
        .file("no home/x", "");
    let closed = home.path("no home");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o500)).unwrap();
    let state = home.path("state").display().to_string();
    let closed = closed.display().to_string();
    home.env("FAAS_STATE_DIR", &state).env("PATH", "/bin:/usr/bin").env("HOME", &closed)
}

fn digest(said: &str) -> String {
    let line = said.lines().find(|line| line.starts_with("Bundle: bundle:a@")).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn those_that_can_run_are_served_and_the_others_are_named() {
    let gateway = gateway();
    let home = project(&gateway.url);
    let run = home.run("up");
    run.bad(
        1,
        &[
            "template.yml: local.stepps: unknown key, it has no effect",
            "function image cannot be built",
            "it is the image some/image:1, which needs Docker",
            "template old cannot run without Docker: it has no `local:` part",
            "hint: use `--provider docker`",
            "template poor needs the programs no-node, no-npm, not found on the PATH",
            "hint: install Node.js 20, and npm; or use `--provider docker`",
            "template dockerfile needs Docker",
            "1 of 5 live after ",
            "error: 4 of 5 could not be deployed: image, old, poor, own",
        ],
    );
    let image = digest(&run.stdout);
    assert!(run.stdout.ends_with("/function/a\n"), "{run:?}");
    let requests = gateway.requests();
    let sent = requests.iter().find(|r| r.line().starts_with("PUT /system/functions")).unwrap();
    let body = sent.json();
    assert_eq!(body["image"], image);
    assert_eq!(body["envProcess"], serde_json::Value::Null, "the bundle says it");
    assert_eq!(body["annotations"]["flint.dev/network"], "none");
    assert_eq!(body["annotations"]["flint.dev/sandbox"], "required");
    let put = requests.iter().find(|r| r.line().starts_with("PUT /system/bundles/")).unwrap();
    let digest = image.split('@').nth(1).unwrap();
    assert_eq!(put.path, format!("/system/bundles/{digest}"));
    let kind = "application/vnd.flint.bundle.v1.tar+zstd";
    assert_eq!(put.header("content-type"), Some(kind));

    home.run("up --filter a").good();
    let puts = gateway.lines().iter().filter(|line| line.contains("PUT /system/bundles")).count();
    assert_eq!(puts, 1, "what the gateway has is not sent again");
}

#[test]
fn build_then_deploy_and_nothing_to_push() {
    let gateway = gateway();
    let home = project(&gateway.url);
    home.run("deploy --filter a").bad(1, &["function a is not built", "faas build --provider"]);
    let run = home.run("build --filter a");
    let image = digest(run.good());
    assert!(home.path("state/build").is_dir());
    home.run("deploy --filter a").good();
    let requests = gateway.requests();
    let sent = requests.iter().rfind(|request| request.method == "PUT").unwrap();
    assert_eq!(sent.json()["image"], image);
    home.run("push").good();
    assert!(home.run("push").stderr.contains("Nothing to push: the gateway runs bundles"));
    home.run("build").bad(1, &["4 of 5 could not be built"]);
    let changed = home.run("build --filter a -b X=2");
    assert_ne!(digest(changed.good()), image, "build arguments are variables of the steps");
    assert_eq!(digest(home.run("build --filter a --no-cache").good()), image);
}

#[test]
fn without_a_gateway_the_variable_or_the_flag_says() {
    let home = project("http://127.0.0.1:1");
    let said = home.run("build --filter a --provider process").good().to_owned();
    let home = home.env("FAAS_PROVIDER", "process");
    assert_eq!(digest(home.run("build --filter a").good()), digest(&said));
    home.run("up --skip-deploy --filter a").good();
    let home = home.env("FAAS_PROVIDER", "moon");
    home.run("build").bad(2, &["FAAS_PROVIDER=moon is nothing", "hint: it is docker, process"]);
    home.run("build --provider docker").bad(1, &["error: "]);
}

#[test]
fn packages_and_secrets_of_the_build_are_warned_of() {
    let home = project("http://127.0.0.1:1").file(
        "s.yml",
        "provider: {name: openfaas}\nfunctions:\n  a:\n    lang: sh\n    handler: ./a ü\n    \
         build_args: {ADDITIONAL_PACKAGE: jq git}\n    build_secrets: {npm: file}\n",
    );
    let run = home.run("build -f s.yml --provider process");
    run.good();
    assert!(run.stderr.contains("install on this machine: git jq"), "{run:?}");
    assert!(run.stderr.contains("`build_secrets` are not given to the build"), "{run:?}");
}

#[test]
fn a_provider_that_came_too_late_is_told() {
    let gateway = gateway();
    let home = project(&gateway.url);
    let run = home.run("up --filter a --provider docker");
    run.good();
    assert!(run.stderr.contains("runs processes: --provider docker is for one"), "{run:?}");
}

#[test]
fn down_removes_what_is_there_and_leaves_others_gateways_alone() {
    let gateway = Gateway::new(|request| match (request.method.as_str(), &*request.path) {
        ("GET", path) if path.starts_with("/system/function/a") => (200, r#"{"name":"a"}"#),
        ("GET", _) => (404, ""),
        _ => (202, ""),
    });
    let home = project(&gateway.url);
    let run = home.run("down");
    assert_eq!(run.good(), "Removing old function.\n");
    assert!(run.stderr.contains("Not there: old."), "{run:?}");
    let removed: Vec<_> =
        gateway.requests().into_iter().filter(|request| request.method == "DELETE").collect();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].json()["functionName"], "a");
    home.env("OPENFAAS_URL", "http://127.0.0.1:1").run("down").bad(1, &["no gateway answers"]);
}

#[test]
fn network_and_sandbox_are_flags_too_and_have_one_value_each() {
    let gateway = Gateway::always(202, "");
    let home = Home::new(&gateway.url);
    home.run("deploy --name a --image i --network none --sandbox required").good();
    let annotations = &gateway.requests()[0].json()["annotations"];
    let want = serde_json::json!({"flint.dev/network": "none", "flint.dev/sandbox": "required"});
    assert_eq!(*annotations, want);
    home.run("deploy --name a --image i --network host").bad(2, &["--network"]);
    let stack = "provider: {name: openfaas}\nfunctions: {a: {image: i, network: host}}\n";
    let home = home.file("stack.yml", stack);
    home.run("deploy").bad(1, &["functions.a.network: \"host\" is not \"none\""]);
}
