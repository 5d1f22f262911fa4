//! When the gateway's program does not start, and what it says then.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use gateway::state::StateDir;
use relay::Listener;

/// Runs the program, which must refuse to start; what it said.
fn refusal(state: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_faas-gateway"))
        .env_clear()
        .args(["--docker-host", "unix:///nonexistent", "--host", "127.0.0.1", "--state-dir"])
        .arg(state)
        .args(args)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

fn contains(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "no {part:?} in: {words}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_its_holder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port().to_string();
    let (taken, me) = (format!("cannot listen on {address}"), std::process::id().to_string());
    let words = [taken.as_str(), &format!("(pid {me}) listens there"), "hint: ", "--port"];
    for args in [["--port", &port, "--metrics-port", "0"], ["--port", "0", "--metrics-port", &port]]
    {
        let dir = tempfile::tempdir().unwrap();
        contains(&refusal(dir.path(), &args), &words);
    }
}

#[test]
fn a_port_is_not_shared_with_another_gateway() {
    let others = Listener::bind_tcp(([127, 0, 0, 1], 0).into(), 2).unwrap();
    let port = others[0].local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let words = refusal(dir.path(), &["--port", &port, "--metrics-port", "0"]);
    contains(&words, &["cannot listen on", &format!("(pid {})", std::process::id())]);
}

#[test]
fn a_state_folder_in_use_is_named_with_its_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let _first = StateDir::open(dir.path()).unwrap();
    let words = refusal(dir.path(), &["--port", "0", "--metrics-port", "0"]);
    contains(&words, &[&format!("gateway with pid {}", std::process::id()), "--state-dir"]);
}

#[test]
fn a_state_folder_of_a_newer_gateway_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("version"), "7\n").unwrap();
    std::fs::write(dir.path().join("gateway.lock"), "1234\n").unwrap();
    let words = refusal(dir.path(), &["--port", "0", "--metrics-port", "0"]);
    contains(&words, &["has version 7", "up to 1", "a newer one used it", "--state-dir"]);
    let mut files: Vec<_> =
        dir.path().read_dir().unwrap().map(|f| f.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["gateway.lock", "version"]);
    assert_eq!(std::fs::read_to_string(dir.path().join("gateway.lock")).unwrap(), "1234\n");
}
