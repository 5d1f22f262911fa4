//! `up --watch`, and what Ctrl-C leaves: as processes, since both are about signals.

use std::fs;
use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::bundles::{gateway, project};
use crate::gateway::Gateway;
use crate::run::Home;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that runs, and its stderr as it comes.
struct Running {
    child: Child,
    said: Receiver<String>,
    seen: String,
}

impl Running {
    fn start(home: &Home, line: &str) -> Self {
        let mut command = home.command(line);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let (send, said) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count) = stderr.read(&mut bytes).and_then(|n| match n {
                0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => Ok(n),
            }) {
                let _ = send.send(String::from_utf8_lossy(&bytes[..count]).into_owned());
            }
        });
        Self { child, said, seen: String::new() }
    }

    /// Waits until stderr holds a text; what came up to it is forgotten.
    #[track_caller]
    fn until(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.said.recv_timeout(PATIENCE) {
                Ok(more) => self.seen.push_str(&more),
                Err(_) => panic!("no {text:?} in {}", self.seen),
            }
        }
    }

    /// Ctrl-C; the exit code.
    fn interrupt(&mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        self.child.wait().unwrap().code().expect("it ended by itself")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_saved_goes_live_and_what_is_wrong_does_not() {
    let gateway = gateway();
    let home = project(&gateway.url).file(
        "template/sh/template.yml",
        "fprocess: sh index.sh\nlocal:\n  check: [{run: sh -n, files: ['function/*.sh']}]\n",
    );
    let mut watching = Running::start(&home, "up --watch --filter a");
    watching.until("Watching: ");
    let deploys = || gateway.lines().iter().filter(|l| *l == "PUT /system/functions").count();
    assert_eq!(deploys(), 1);

    fs::write(home.path("a ü/handler.sh"), "two").unwrap();
    watching.until("a: live ");
    watching.until(" of handler.sh.");
    assert_eq!(deploys(), 2);
    let lines = gateway.lines();
    let mut puts = lines.iter().filter_map(|line| line.split_once("PUT /system/bundles/sha256:"));
    let (first, second) = (puts.next().unwrap().1, puts.next().unwrap().1);
    assert!(!first.contains("base") && second.contains("?base="), "{lines:?}");
    assert!(second.ends_with(first), "it is based on the one before: {lines:?}");

    fs::write(home.path("a ü/handler.sh"), "if\n").unwrap();
    watching.until("handler.sh: 2: Syntax error");
    watching.until("a: the version before goes on: save again to try again.");
    assert_eq!(deploys(), 2);

    fs::write(home.path("a ü/new"), "two").unwrap();
    watching.until("Syntax error");
    fs::write(home.path("a ü/handler.sh"), "two").unwrap();
    watching.until("a: live ");
    fs::write(home.path("a ü/handler.sh"), "two").unwrap();
    watching.until("a: nothing to change.");
    assert_eq!(deploys(), 3);

    let stack = fs::read_to_string(home.path("stack.yml")).unwrap();
    fs::write(home.path("stack.yml"), "functions: [").unwrap();
    watching.until("error: stack.yml: ");
    let changed = stack.replace("network: none", "environment: {K: v}");
    fs::write(home.path("stack.yml"), changed).unwrap();
    watching.until("a: live ");
    let requests = gateway.requests();
    let sent = requests.iter().rfind(|r| r.line() == "PUT /system/functions").unwrap();
    assert_eq!(sent.json()["envVars"]["K"], "v");

    assert_eq!(watching.interrupt(), 0);
    watching.until("Watching has ended; the functions go on.");
}

#[test]
fn what_was_live_is_deployed_again_after_one_that_never_was() {
    let deploys = AtomicUsize::new(0);
    let gateway = Gateway::new(move |request| match (request.method.as_str(), &*request.path) {
        (_, "/system/info") => (200, r#"{"provider":{"provider":"flint-process"}}"#),
        ("PUT", "/system/functions") => match deploys.fetch_add(1, Relaxed) {
            1 => (500, "no"),
            _ => (202, ""),
        },
        (_, path) if path.starts_with("/system/logs") => (200, ""),
        _ => (200, r#"{"name":"a","replicas":1,"updatedReplicas":1}"#),
    });
    let home = project(&gateway.url);
    let mut watching = Running::start(&home, "up --watch --filter a");
    watching.until("Watching: ");
    fs::write(home.path("a ü/handler.sh"), "broken").unwrap();
    watching.until("a: the version before goes on");
    fs::write(home.path("a ü/handler.sh"), "one").unwrap();
    watching.until("a: live ");
    let lines = gateway.lines();
    assert_eq!(lines.iter().filter(|line| *line == "PUT /system/functions").count(), 3);
    assert_eq!(watching.interrupt(), 0);
}

#[test]
fn with_images_too_what_is_saved_goes_live() {
    let ready = r#"{"name":"a","replicas":1,"updatedReplicas":1}"#;
    let gateway = Gateway::new(move |request| match request.method.as_str() {
        "PUT" => (202, ""),
        _ if request.path.starts_with("/system/logs") => (200, ""),
        _ => (200, ready),
    });
    let engine = Gateway::new(|request| {
        let builds = request.path.starts_with("/build");
        (200, if builds { "{\"stream\":\"Step 1/1 : FROM scratch\\n\"}\r\n" } else { "{}" })
    });
    let stack = "provider: {name: openfaas}\nfunctions:\n  \
                 a: {lang: sh, handler: ./a ü, image: 'a:1'}\n";
    let home = project(&gateway.url)
        .file("stack.yml", stack)
        .env("DOCKER_HOST", &engine.url.replace("http", "tcp"));
    let mut watching = Running::start(&home, "up --watch");
    watching.until("Watching: ");
    fs::write(home.path("a ü/handler.sh"), "two").unwrap();
    watching.until("a: live ");
    let lines = gateway.lines();
    assert_eq!(lines.iter().filter(|line| *line == "PUT /system/functions").count(), 2);
    let builds = engine.lines().iter().filter(|line| line.starts_with("POST /build")).count();
    assert_eq!(builds, 2);
    assert_eq!(watching.interrupt(), 0);
}

#[test]
fn a_save_while_building_starts_anew() {
    let gateway = gateway();
    let slow = "fprocess: x\nlocal:\n  steps:\n  - run: sh function/step.sh ${cache}\n    \
                outputs: [made]\n";
    let home = project(&gateway.url)
        .file("template/sh/template.yml", slow)
        .file("a ü/step.sh", "echo 1 > made");
    let mut watching = Running::start(&home, "up --watch --filter a");
    watching.until("Watching: ");
    let begun = home.path("begun");
    let endless = format!("touch '{}'; sleep 1000", begun.display());
    fs::write(home.path("a ü/step.sh"), endless).unwrap();
    wait_for(|| begun.exists());
    fs::write(home.path("a ü/step.sh"), "echo 3 > made").unwrap();
    watching.until("a: live ");
    assert_eq!(watching.interrupt(), 0);
}

#[test]
fn ctrl_c_ends_a_step_and_leaves_nothing_half_done() {
    let home = project("http://127.0.0.1:1");
    let pid = home.path("pid");
    let step = format!(
        "fprocess: x\nlocal:\n  steps:\n  - run: sh -c 'echo half > made; sleep 1000 & \
         echo $! > \"$0.new\"; mv \"$0.new\" \"$0\"; wait' '{}'\n    inputs: [function]\n    \
         outputs: [made]\n",
        pid.display()
    );
    let home = home.file("template/sh/template.yml", &step);
    let mut building = Running::start(&home, "build --filter a --provider process");
    wait_for(|| pid.exists());
    let sleeper = fs::read_to_string(&pid).unwrap();
    assert_eq!(building.interrupt(), 130);
    building.until("error: interrupted");
    let stat = format!("/proc/{}/stat", sleeper.trim());
    wait_for(|| !fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")));
    let slot = fs::read_dir(home.path("state/build")).unwrap().next().unwrap().unwrap().path();
    assert!(!slot.join("steps").exists() && !slot.join("latest").exists());

    let home = home.file("template/sh/template.yml", "fprocess: x\nlocal: {}\n");
    home.run("build --filter a --provider process").good();
}

fn wait_for(done: impl Fn() -> bool) {
    let since = std::time::Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "it does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_function_alone_ends_with_its_confiner_or_with_ctrl_c() {
    let home = project("http://127.0.0.1:1").file(
        "template/sh/template.yml",
        "fprocess: sh index.sh\nlocal: {programs: [{name: sh}]}\n",
    );
    let port = {
        let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let line = |rest: &str| format!("local-run a --port {port} --filter * {rest}");
    let none = line("--watchdog ./none");
    home.run(&none).bad(1, &["--watchdog names ./none, which is no file", "hint: name the static"]);
    // By another process: what this one has open for writing can be run by nobody.
    let confiner = |script: &str| {
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", write, "sh", script]).arg(home.path("confiner"));
        assert!(shell.status().unwrap().success());
    };
    let dies = r#"echo '{"code":null,"signal":null,"out_of_memory":false,"error":"no such sandbox","at":"2026-01-01T00:00:00Z"}' > "$2/exit.json"
        ls "$2/bundle"; exit 1"#;
    confiner(dies);
    let run = home.run(&line("--watchdog ./confiner -e K=v"));
    run.bad(1, &["function a ended: no such sandbox"]);
    assert!(run.stdout.contains("index.sh"), "{run:?}");
    home.run(&line("--watchdog ./confiner").replace("run a", "run z")).bad(2, &["no function z"]);

    let waits = r#"echo "$2" > folder.new; mv folder.new folder; trap 'exit 0' TERM
        while :; do sleep 0.05; done"#;
    confiner(waits);
    let mut running = Running::start(&home, &line("--watchdog ./confiner"));
    wait_for(|| home.path("folder").exists());
    let folder = fs::read_to_string(home.path("folder")).unwrap();
    assert_eq!(running.interrupt(), 0);
    running.until("Stopped.");
    assert!(!std::path::Path::new(folder.trim()).exists());
}
