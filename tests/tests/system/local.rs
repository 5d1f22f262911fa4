//! The first minutes on a machine without Docker: one command, no rights, and what can go wrong.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use system::cli::Cli;
use system::client::Client;
use system::gateway::Gateway;
use system::load;
use system::newcomer::{Newcomer, said};
use system::{project, run};

/// Longest wait for a save to be live. Reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What is on every machine: a shell and the programs that samples use in scripts.
const BARE: [&str; 24] = [
    "sh", "bash", "env", "cat", "tr", "sort", "uniq", "awk", "sed", "grep", "head", "tail", "cut",
    "mkdir", "rm", "cp", "mv", "ls", "ln", "chmod", "sleep", "kill", "test", "dirname",
];

#[test]
fn one_command_builds_starts_and_serves_and_one_takes_it_all_away() -> Result<()> {
    let mut newcomer = Newcomer::new()?;
    // A home that cannot be written, and names with spaces and more than ASCII.
    newcomer.set("HOME", "/proc");
    let state = newcomer.folder("stäte folder")?.display().to_string();
    newcomer.set("FAAS_STATE_DIR", &state);
    let config = newcomer.folder("config")?.join("config.yml").display().to_string();
    newcomer.set("OPENFAAS_CONFIG", &config);
    let folder = newcomer.folder("my pröject")?;
    let script = "
        faas new --lang bash-streaming hello --quiet
        faas up
        echo \"first: $(echo one | faas invoke hello)\"
        faas up
        echo \"second: $(echo two | faas invoke hello)\"
        faas describe hello
        faas down
        if faas list; then echo still there; fi
    ";
    let text = newcomer.ok(&folder, script)?;
    for part in [
        "Started a gateway at http://127.0.0.1:8080 (provider process",
        "http://127.0.0.1:8080/function/hello",
        "curl -d hello http://127.0.0.1:8080/function/hello",
        "first: You said: one",
        "second: You said: two",
        "bundle:hello@sha256:",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert!(!text.contains("still there"), "{text}");
    assert_eq!(newcomer.processes()?, Vec::<String>::new(), "nothing goes on");
    let replicas = newcomer.at("stäte folder/replicas");
    assert_eq!(std::fs::read_dir(replicas)?.count(), 0, "no replica is left");
    Ok(())
}

#[test]
fn samples_whose_programs_are_missing_are_named_and_the_others_served() -> Result<()> {
    let mut newcomer = Newcomer::new()?;
    newcomer.keep_only(&BARE)?;
    let folder = newcomer.folder("flint")?;
    let from = ["stack.yml", "samples"].map(|name| project().join(name));
    run(std::process::Command::new("cp").arg("-r").args(from).arg(&folder))?;
    newcomer.give(&folder)?;
    let script = "
        faas up || echo \"exit code $?\"
        echo \"counted: $(echo b a b | faas invoke wordcount)\"
        faas down
    ";
    let text = newcomer.ok(&folder, script)?;
    for (function, template, program) in [
        ("notice", "node22", "node"),
        ("search", "node22", "node"),
        ("pinyin", "python3-http", "python3"),
        ("hello-go", "golang-middleware", "go"),
    ] {
        let begin = format!(
            "error: function {function} cannot be built\n  caused by: template {template} needs the program"
        );
        let (_, rest) = text.split_once(&begin).unwrap_or_default();
        let named = rest.lines().next().unwrap_or_default();
        let words: Vec<&str> = named.split([' ', ',']).collect();
        assert!(words.contains(&program), "{begin} {program}, not in:\n{text}");
        let hint = rest.lines().nth(1).unwrap_or_default();
        assert!(hint.starts_with("hint: install "), "{function}: {hint}");
    }
    assert!(text.contains("exit code 1"), "{text}");
    assert!(text.contains("counted: 2 b"), "{text}");
    assert_eq!(newcomer.processes()?, Vec::<String>::new(), "nothing goes on");
    Ok(())
}

#[test]
fn a_port_that_others_use_is_named_with_who_does() -> Result<()> {
    let newcomer = Newcomer::new()?;
    let folder = newcomer.folder("f")?;
    let script = "
        python3 -m http.server 8080 >/dev/null 2>&1 & other=$!
        while ! python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8080))' 2>/dev/null
        do sleep 0.1; done
        faas new --lang bash-streaming hello --quiet
        faas up || echo \"exit code $?\"
        kill $other
    ";
    let text = newcomer.ok(&folder, script)?;
    assert!(text.contains("exit code 1") && text.contains("python3"), "{text}");
    assert_eq!(newcomer.processes()?, Vec::<String>::new(), "nothing was started");
    Ok(())
}

#[test]
fn gateways_on_other_ports_do_not_disturb_each_other() -> Result<()> {
    let newcomer = Newcomer::new()?;
    let folder = newcomer.folder("two")?;
    let script = "
        for n in 1 2; do
            faas-gateway --provider process --port 900$n --metrics-port 0 --state-dir state$n \\
                >gateway$n.log 2>&1 & eval \"gateway$n=$!\"
        done
        faas new --lang bash-streaming same --quiet
        for n in 1 2; do
            export OPENFAAS_URL=http://127.0.0.1:900$n
            while ! [ -s state$n/basic-auth-password ] || ! grep -q listening gateway$n.log
            do sleep 0.05; done
            faas login --password-stdin < state$n/basic-auth-password
            faas up
        done
        if faas-gateway --provider process --port 9003 --metrics-port 0 --state-dir state1
        then echo a second one on one folder; fi
        kill $gateway1; wait $gateway1
        echo \"still: $(echo hi | faas invoke same)\"
        kill $gateway2; wait $gateway2
    ";
    let output = newcomer.shell(&folder, script)?;
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("still: You said: hi"), "{text}");
    assert!(text.contains("is in use by the gateway with pid"), "{text}");
    assert!(!text.contains("a second one on one folder"), "{text}");
    assert_eq!(newcomer.processes()?, Vec::<String>::new(), "nothing goes on");
    Ok(())
}

/// `faas up --watch`, which is interrupted when this is dropped.
struct Watch {
    child: Child,
    log: std::path::PathBuf,
}

impl Watch {
    fn start(cli: &Cli, dir: &Path) -> Result<Self> {
        let log = dir.join("watch.log");
        let file = std::fs::File::create(&log)?;
        let mut command = cli.command(dir, &["up", "--watch"]);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: command.spawn()?, log })
    }

    fn said(&self) -> Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    async fn until_it_says(&self, words: &str) -> Result<()> {
        let start = Instant::now();
        while !self.said()?.contains(words) {
            ensure!(start.elapsed() < PATIENCE, "{words:?} was never said:\n{}", self.said()?);
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let _ = self.child.wait();
    }
}

async fn until_it_answers(client: &Client, answer: &str, watch: &Watch) -> Result<()> {
    let start = Instant::now();
    while client.call("live").await?.1 != answer {
        ensure!(start.elapsed() < PATIENCE, "{answer:?} never came:\n{}", watch.said()?);
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

#[tokio::test]
async fn what_is_saved_goes_live_and_no_call_fails() -> Result<()> {
    let gateway = Gateway::start_on("process", &[])?;
    let (cli, client) = (Cli::new(&gateway)?, Client::new(&gateway)?);
    let dir = tempfile::tempdir()?;
    cli.ok(dir.path(), &["new", "--lang", "node22", "live", "--quiet"])?;
    let handler = dir.path().join("live/handler.js");
    let answers = |text: &str| format!("module.exports = async () => '{text}'\n");
    std::fs::write(&handler, answers("one"))?;
    let watch = Watch::start(&cli, dir.path())?;
    watch.until_it_says("Watching").await?;
    until_it_answers(&client, "one", &watch).await?;
    let load = load::start(&gateway, "/function/live")?;

    std::fs::write(&handler, answers("two"))?;
    until_it_answers(&client, "two", &watch).await?;
    // What cannot be read is told with its line, and what was live goes on.
    std::fs::write(&handler, "module.exports = async () => {\n  return ]\n}\n")?;
    watch.until_it_says("handler.js:2").await?;
    assert_eq!(client.call("live").await?.1, "two");
    // As some editors save.
    let new = dir.path().join("live/handler.js.new");
    std::fs::write(&new, answers("three"))?;
    std::fs::rename(&new, &handler)?;
    until_it_answers(&client, "three", &watch).await?;
    load::none_failed(&load.stop().await?)?;
    let said = watch.said()?;
    assert!(said.contains("live | "), "log lines come with their function's name:\n{said}");
    drop(watch);
    assert_eq!(client.call("live").await?.1, "three", "the function goes on");
    Ok(())
}
