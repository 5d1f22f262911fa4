//! `login`, `logout`, and where the gateway's URL comes from.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::gateway::Gateway;
use crate::run::Home;

const ADMIN: &str = "Basic YWRtaW46c2VjcmV0";

fn guarded() -> Gateway {
    Gateway::new(|r| if r.header("authorization") == Some(ADMIN) { (200, "[]") } else { (401, "") })
}

#[test]
fn a_login_is_checked_kept_private_and_used() {
    let gateway = guarded();
    let home = Home::new(&gateway.url);
    home.run("list").bad(1, &["error: unauthorized access to http://", "faas login -g http://"]);
    let run = home.pipe("login --password-stdin", "secret\n");
    assert_eq!(run.good(), format!("credentials saved for admin {}\n", gateway.url));
    home.run("list").good();
    let file = home.path(".openfaas/config.yml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&format!("- gateway: {}\n  auth: basic\n", gateway.url)), "{text}");

    assert_eq!(home.run("logout").good(), format!("credentials removed for {}\n", gateway.url));
    home.run("list").bad(1, &["unauthorized"]);
    home.run("logout").bad(1, &["there is no login for"]);
}

#[test]
fn wrong_credentials_are_not_kept() {
    let gateway = guarded();
    let home = Home::new(&gateway.url);
    let run = home.run("login -u admin -p wrong");
    run.bad(1, &["unable to login", "wrong credentials", "warning: a password in an argument"]);
    assert!(!home.path(".openfaas/config.yml").exists());
    home.run("login").bad(2, &["a password is needed"]);
    home.pipe("login -s", "\n").bad(2, &["the password is empty"]);
    home.run("login -p a -s").bad(2, &["cannot be used with"]);
}

#[test]
fn tokens_folders_and_flags() {
    let gateway = Gateway::always(200, "[]");
    let home = Home::new("http://127.0.0.1:1").env("CI", "true");
    home.run(&format!("list -g {}/ -k abc", gateway.url)).good();
    assert_eq!(gateway.requests()[0].header("authorization"), Some("Bearer abc"));
    home.run(&format!("login -g {} -p x", gateway.url)).good();
    assert!(home.path(".openfaas/config.yml").exists());
    let home = home.env("OPENFAAS_CONFIG", "elsewhere");
    home.run(&format!("login -g {} -p x", gateway.url)).good();
    assert!(home.path("elsewhere/config.yml").exists());
}

#[test]
fn requests_can_be_seen_without_credentials() {
    let gateway = Gateway::always(200, "[]");
    let home = Home::new(&gateway.url).env("FAAS_DEBUG", "1");
    let run = home.run("list -k verysecret");
    run.good();
    assert!(run.stderr.contains(&format!("> GET {}/system/functions", gateway.url)), "{run:?}");
    assert!(run.stderr.contains("> authorization: [redacted]"), "{run:?}");
    assert!(!run.stderr.contains("verysecret"));
}
