//! Gateways that say no, or say nothing; command lines that cannot be meant.

use crate::gateway::{Gateway, Reply};
use crate::run::Home;

/// A line of each verb that asks the gateway and fails when it does.
const LINES: &[&str] = &[
    "list",
    "describe a",
    "remove a",
    "scale a 1",
    "logs a",
    "deploy --name a --image i",
    "secret list",
    "secret create a --from-literal x",
    "secret remove a",
    "namespace list",
    "namespace create a",
    "namespace remove a",
    "login -p x",
];

#[test]
fn every_verb_says_that_no_gateway_answers() {
    let home = Home::new("http://127.0.0.1:1");
    for line in LINES.iter().chain(&["invoke a", "ready --attempts 1 --interval 1ms"]) {
        let run = home.run(line);
        run.bad(1, &["no gateway answers at http://127.0.0.1:1", "refused"]);
        run.bad(1, &["hint: start a gateway, or name one with -g or OPENFAAS_URL"]);
        assert_eq!(run.stdout, "", "{line}");
    }
}

#[test]
fn every_verb_fails_on_refusals_and_shows_them() {
    for status in [400, 401, 403, 409, 500, 502] {
        let gateway = Gateway::new(move |_| (status, "the reason"));
        let home = Home::new(&gateway.url);
        for line in LINES {
            let run = home.run(line);
            assert_eq!(run.code, 1, "{status} {line}: {run:#?}");
            let told = match status {
                401 if line.starts_with("login") => "wrong credentials",
                401 => "unauthorized access to",
                409 if line.contains("create") => "exists already",
                _ if line.starts_with("login") => "answers",
                _ => "the reason",
            };
            run.bad(1, &["error: ", told]);
        }
    }
}

#[test]
fn answers_that_are_no_gateway_s() {
    let gateway = Gateway::always(200, "<html>");
    let home = Home::new(&gateway.url);
    home.run("list").bad(1, &["the answer cannot be read", "hint: is there really a gateway"]);
    home.run("logs a").bad(1, &["a log line cannot be read"]);
    let gateway =
        Gateway::new(|_| Reply(308, "location: https://other/\r\n".to_owned(), Vec::new()));
    Home::new(&gateway.url).run("list").bad(1, &["it is at https://other/", "-g"]);
}

#[test]
fn a_gateway_that_hangs_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Home::new(&url).run("list").bad(1, &[&format!("error: the connection to {url} broke")]);
}

#[test]
fn bad_command_lines() {
    let home = Home::new("http://127.0.0.1:1");
    for line in ["", "nonsense", "list --nonsense", "list extra"] {
        home.run(line).bad(2, &["Usage"]);
    }
    home.run("list --json=maybe").bad(2, &["value was not a boolean"]);
    home.run("list -g ftp://x").bad(2, &["not a gateway's URL"]);
    home.run("deploy --name a --image i -e novalue").bad(2, &["must be KEY=VALUE"]);
    assert!(home.run("--help").good().contains("Exit codes"));
    assert!(home.run("--version").good().starts_with("faas "));
}

#[test]
fn a_broken_stack_or_login_file_is_named() {
    let home = Home::new("http://127.0.0.1:1").file("stack.yml", "functions: [");
    home.run("list").bad(1, &["error: stack.yml"]);
    let home = Home::new("http://127.0.0.1:1").file(".openfaas/config.yml", "]");
    home.run("list").bad(1, &["config.yml holds no logins", "hint: "]);
}
