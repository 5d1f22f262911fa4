//! `store`: from a file, from a URL, and without any.

use crate::gateway::Gateway;
use crate::run::Home;

const STORE: &str = r#"{"version":"0.2.0","functions":[
    {"title":"Info","name":"info","description":"tells things","author":"me","fprocess":"cat",
     "images":{"x86_64":"flint/info:1","arm64":"flint/info:1-arm64"},"labels":{"a":"b"}}]}"#;

#[test]
fn list_inspect_and_deploy() {
    let gateway = Gateway::new(|r| if r.method == "GET" { (200, STORE) } else { (202, "") });
    let home =
        Home::new(&gateway.url).file("store.json", STORE).env("OPENFAAS_STORE", "store.json");
    let want = "FUNCTION  AUTHOR  DESCRIPTION\ninfo      me      tells things\n";
    assert_eq!(home.run("store list -p x86_64").good(), want);
    let from_url = home.run(&format!("store list -p arm64 -u {}/store.json", gateway.url));
    assert_eq!(from_url.good(), want);
    assert!(home.run("store list -p amd64 --json").good().contains("\"title\": \"Info\""));
    assert!(home.run("store inspect Info -p arm64").good().contains("flint/info:1-arm64"));
    home.run("store deploy info -p arm64 --name mine -e K=v -n dev").good();
    let request = gateway.requests().pop().unwrap();
    let body = request.json();
    assert_eq!((&*request.method, body["service"].as_str()), ("PUT", Some("mine")));
    assert_eq!(body["image"], "flint/info:1-arm64");
    assert_eq!((&body["labels"]["a"], &body["envVars"]["K"]), (&"b".into(), &"v".into()));
    home.run("store inspect nope").bad(1, &["the store has no function nope", "store list"]);
    home.run("store deploy info -p riscv").bad(1, &["no image for riscv", "arm64, x86_64"]);
    let text = home.run("generate --from-store info --arch arm64").good().to_owned();
    assert!(text.contains("image: flint/info:1-arm64") && text.contains("fprocess: cat"));
}

#[test]
fn a_store_that_is_away_says_what_to_do() {
    let home = Home::new("http://127.0.0.1:1");
    let run = home.run("store list -u http://127.0.0.1:1/store.json");
    run.bad(1, &["the store http://127.0.0.1:1/store.json cannot be read", "refused", "--url"]);
    home.run("store list -u nope.json").bad(1, &["the store nope.json cannot be read"]);
}
