//! `faas build`, `push` and `up`, up to the engine's API. Real engines build in the system tests.

use std::fs;
use std::net::TcpListener;

use super::gateway::{Gateway, Reply, Request};
use super::run::Home;

const STACK: &str = "provider: {name: openfaas}\nconfiguration:\n  copy: [common]\nfunctions:\n  \
    a:\n    lang: sh\n    handler: ./a\n    image: h:5000/a:1\n    build_args: {X: 1.10}\n    \
    build_options: [dev]\n  done:\n    image: h:5000/done\n    skip_build: true\n";

fn project(url: &str) -> Home {
    Home::new(url)
        .file("stack.yml", STACK)
        .file(
            "template/sh/template.yml",
            "fprocess: sh x\nbuild_options:\n- name: dev\n  packages: [jq, git]\n",
        )
        .file("template/sh/Dockerfile", "FROM base:1\nRUN x\n")
        .file("template/sh/function/starter", "")
        .file("a/handler.sh", "cat")
        .file("a/.dockerignore", "*.log")
        .file("a/x.log", "")
        .file("a/build/x", "")
        .file("common/lib.sh", "")
}

/// An engine of this version that has every image; `build` answers builds.
fn engine(
    version: &'static str,
    build: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> Gateway {
    Gateway::new(move |request| match request.path.split('?').next().unwrap_or_default() {
        "/_ping" => Reply(200, format!("api-version: {version}\r\n"), b"OK".into()),
        "/build" => build(request),
        path if path.ends_with("/push") => Reply(
            200,
            String::new(),
            b"{\"status\":\"x\"}\r\n{\"errorDetail\":{\"message\":\"denied\"}}".into(),
        ),
        _ => Reply(200, String::new(), b"{}".into()),
    })
}

fn on(home: Home, engine: &Gateway) -> Home {
    home.env("DOCKER_HOST", &engine.url.replace("http", "tcp"))
}

#[test]
fn contexts_are_written() {
    let home = project("http://127.0.0.1:1");
    let run = home.run("build --shrinkwrap");
    assert_eq!(run.good(), "a shrink-wrapped to ./build/a\n");
    assert!(run.stderr.contains("Skipping build of: done."), "{run:?}");
    for (path, there) in [
        ("Dockerfile", true),
        ("function/handler.sh", true),
        ("function/starter", true),
        ("function/common/lib.sh", true),
        ("function/x.log", false),
        ("function/build", false),
    ] {
        assert_eq!(home.path("build/a").join(path).exists(), there, "{path}");
    }
    fs::remove_dir_all(home.path("a")).unwrap();
    home.run("build --shrinkwrap").bad(1, &["the handler of a, ./a, is no folder"]);
    home.run("build --shrinkwrap -o nope")
        .bad(1, &["has no build option \"nope\"", "hint: it has: dev"]);
    home.run("build --shrinkwrap --copy-extra /etc").bad(1, &["function a could not be built"]);
}

#[test]
fn an_engine_that_refuses_buildkit_is_asked_again_without() {
    let engine = engine("1.41", |request| match request.path.contains("version=2") {
        true => Reply(400, String::new(), br#"{"message":"no buildkit"}"#.into()),
        false => {
            Reply(200, String::new(), b"{\"stream\":\"Step 1/1 : FROM base:1\\n\"}\r\n".into())
        }
    });
    let home = on(project("http://127.0.0.1:1"), &engine).env("HTTP_PROXY", "http://proxy");
    let said = home.run("build -b Y=2 --build-label l=1 --no-cache").good().to_owned();
    assert!(said.starts_with("Image: h:5000/a:1 built in "), "{said}");
    let requests = engine.requests();
    let builds: Vec<&Request> = requests.iter().filter(|r| r.path.starts_with("/build")).collect();
    assert_eq!(builds.len(), 2);
    let query = &builds[1].path;
    let arguments = "buildargs=%7B%22ADDITIONAL_PACKAGE%22%3A%22git+jq%22%2C%22X%22%3A%221.10%22%2C%22Y%22%3A%222%22%2C%22http_proxy%22%3A%22http%3A%2F%2Fproxy%22%7D";
    for part in ["t=h%3A5000%2Fa%3A1", arguments, "labels=%7B%22l%22%3A%221%22%7D", "nocache=1"] {
        assert!(query.contains(part), "no {part} in {query}");
    }
    assert_eq!(builds[0].body, builds[1].body, "the same archive");
    assert!(String::from_utf8_lossy(&builds[1].body).contains("function/handler.sh"));
}

#[test]
fn a_failed_build_shows_the_step_and_what_it_printed() {
    let engine = engine("1.38", |request| {
        assert!(!request.path.contains("version"), "too old for BuildKit");
        let stream = "{\"stream\":\"Step 2/2 : RUN x\\n\"}\r\n{\"stream\":\"\\u001b[91moops\\n\"}\r\n\
                      {\"errorDetail\":{\"message\":\"exit code 3\"},\"error\":\"exit code 3\"}\r\n";
        Reply(200, String::new(), stream.into())
    });
    let home = on(project("http://127.0.0.1:1"), &engine);
    let run = home.run("build --quiet");
    run.bad(
        1,
        &["function a could not be built", "exit code 3\n  step: Step 2/2 : RUN x\n  | oops\n"],
    );
    let lines = home.run("build").stderr;
    assert!(lines.contains("a | Step 2/2 : RUN x\na |   oops\n"), "{lines}");
    home.run("push").bad(1, &["function a", "cannot push h:5000/a:1: denied", "docker login"]);
    let home = home.env("DOCKER_HOST", "unix:///none.sock");
    home.run("build").bad(1, &["the Docker engine does not answer at unix:///none.sock", "hint: "]);
}

#[test]
fn limits_that_contradict_each_other_are_refused_before_anything_is_built() {
    let engine = engine("1.41", |_| Reply(200, String::new(), Vec::new()));
    let stack = |more: &str| {
        let text = STACK.replace("    lang: sh\n", &format!("    lang: sh\n{more}"));
        on(project(&engine.url).file("stack.yml", &text), &engine)
    };
    let home = stack("    timeout: 10s\n    environment: {exec_timeout: 30s}\n");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let alone = format!("local-run a --watchdog /bin/sh --port {free}");
    for line in ["build", "up", "up --skip-deploy", "build --provider process", &alone] {
        let wanted = "stack.yml: functions.a: environment.exec_timeout: \"30s\" contradicts";
        home.run(line).bad(1, &[wanted, "timeout \"10s\""]);
    }
    let file = "environment:\n  write_timeout: 5s\n";
    let home = stack("    timeout: 10s\n    environment_file: [e.yml]\n").file("e.yml", file);
    home.run("build").bad(1, &["environment.write_timeout: \"5s\"", "timeout \"10s\""]);
    let home = stack("    timeout: 10s\n");
    home.run("up -e exec_timeout=1m").bad(1, &["exec_timeout: \"1m\"", "timeout \"10s\""]);
    let home = stack("    environment: {max_inflight: some}\n");
    home.run("build").bad(1, &["environment.max_inflight: \"some\" is not a whole number"]);
    assert!(engine.requests().is_empty(), "{:?}", engine.requests());
}

#[test]
fn up_asks_the_gateway_first_then_builds_and_deploys() {
    let ready = r#"{"name":"a","replicas":1,"availableReplicas":1}"#;
    let gateway = Gateway::new(move |request| match request.method.as_str() {
        "PUT" => (202, ""),
        _ => (200, ready),
    });
    let engine = engine("1.41", |_| Reply(200, String::new(), Vec::new()));
    let home = on(project(&gateway.url), &engine);
    let run = home.run("up --skip-push --filter a --tag digest -e K=v");
    let said = run.good();
    let url = format!("{}/function/a", gateway.url);
    assert!(said.contains(&format!("\nFUNCTION  URL\na         {url}\n")), "{said}");
    assert!(said.ends_with(&format!("Try it:\n  curl -d hello {url}\n")), "{said}");
    let requests = gateway.requests();
    let sent = requests.iter().find(|request| request.method == "PUT").unwrap().json();
    let image = sent["image"].as_str().unwrap();
    assert!(image.starts_with("h:5000/a:") && image.len() == "h:5000/a:".len() + 32, "{image}");
    assert_eq!((&sent["envProcess"], &sent["envVars"]["K"]), (&"sh x".into(), &"v".into()));
    assert!(said.contains(&format!("Image: {image} built in ")), "{said}");

    let home = home.env("OPENFAAS_URL", "http://127.0.0.1:1");
    let before = engine.requests().len();
    home.run("up").bad(1, &["no gateway answers at http://127.0.0.1:1"]);
    assert_eq!(engine.requests().len(), before, "nothing is built for a gateway that is away");
    home.run("up --shrinkwrap").bad(2, &["--shrinkwrap builds nothing to deploy"]);
}
