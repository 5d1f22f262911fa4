//! `faas new` and `faas template`.

use std::fs;

use super::run::Home;

const NOWHERE: &str = "http://127.0.0.1:1";

fn with_template() -> Home {
    Home::new(NOWHERE)
        .file("template/sh/template.yml", "language: sh\nwelcome_message: |\n  Write handler.sh.\n")
        .file("template/sh/Dockerfile", "FROM scratch\n")
        .file("template/sh/function/handler.sh", "cat\n")
        .file("template/sh/function/.hidden", "")
}

fn read(home: &Home, path: &str) -> String {
    fs::read_to_string(home.path(path)).unwrap()
}

#[test]
fn a_first_and_a_second_function() {
    let home = with_template().file(".gitignore", "/build/\nnode_modules");
    let said = home.run("new --lang sh first -g http://gw:8080/").good().to_owned();
    assert!(said.contains("Notes:\nWrite handler.sh.\n"), "{said}");
    let second = "new --lang sh second -p ~me/ --memory-limit 64Mi --cpu-request 100m -q";
    assert!(!home.run(&second.replace('~', "")).good().contains("Notes"));
    let want = "version: 1.0\nprovider:\n  name: openfaas\n  gateway: http://gw:8080\nfunctions:\n  \
                first:\n    lang: sh\n    handler: ./first\n    image: first:latest\n  second:\n    \
                lang: sh\n    handler: ./second\n    image: me/second:latest\n    requests:\n      \
                cpu: 100m\n    limits:\n      memory: 64Mi\n";
    assert_eq!(read(&home, "stack.yaml"), want);
    assert_eq!(read(&home, ".gitignore"), "/build/\nnode_modules\ntemplate\n.secrets\n");
    assert_eq!(read(&home, "second/handler.sh"), "cat\n");
    assert!(home.path("first/.hidden").is_file());
}

#[test]
fn files_and_folders_of_ones_own() {
    let home = with_template()
        .env("OPENFAAS_PREFIX", "registry:5000/me")
        .file("my stack.yml", "provider: {name: openfaas}\nfunctions:\n  a: {image: x}\n");
    home.run("new --lang sh b -a my~stack.yml --handler src/größe~1").good();
    let text = read(&home, "my stack.yml");
    assert!(text.ends_with("  b:\n    lang: sh\n    handler: \"./src/größe 1\"\n    image: registry:5000/me/b:latest\n"), "{text}");
    assert!(home.path("src/größe 1/handler.sh").is_file());
    assert!(!home.path("stack.yaml").exists());
}

#[test]
fn nothing_is_written_when_it_cannot_be_whole() {
    let home = with_template().file("taken/x", "");
    home.run("new --lang sh taken").bad(1, &["error: folder taken exists already", "--handler"]);
    home.run("new --lang sh A").bad(2, &["\"A\" is not a function's name"]);
    home.run("new --lang sh").bad(2, &["needs a name"]);
    home.run("new x").bad(2, &["needs a template"]);
    home.run("new --lang ../sh x").bad(1, &["is not a template's name"]);
    home.run("new --lang sh x -a none.yml").bad(1, &["there is no none.yml"]);
    let home = home.env("OPENFAAS_TEMPLATE_STORE_URL", "/none.json");
    home.run("new --lang nope x")
        .bad(1, &["there is no template nope here", "hint: there are: ", "sh"]);
    assert!(!home.path("stack.yaml").exists() && !home.path("x").exists());
    home.run("new --lang sh x").good();
    home.run("new --lang sh x").bad(1, &["stack.yaml: functions.x: is there already"]);
}

#[test]
fn templates_here_and_in_the_store() {
    let home = with_template();
    assert!(home.run("new --list").good().contains("- sh\n"));
    assert!(home.run("template list").good().contains("sh\n"));
    let entries = r#"[{"template":"go","platform":"x86_64","language":"Go","source":"me","description":"d d",
        "repo":"https://h/t","official":"true","recommended":true},
        {"template":"c","platform":"arm64","source":"me","repo":"https://h/c","official":"false"}]"#;
    let home = home.file("store.json", entries).env("OPENFAAS_TEMPLATE_STORE_URL", "store.json");
    let table = "NAME  RECOMMENDED  DESCRIPTION  SOURCE\ngo    [x]          d d          me\n";
    assert_eq!(home.run("template store list -o").good(), table);
    assert_eq!(home.run("template store list -r -p X86_64").good(), table);
    assert!(home.run("template store list --json").good().contains("\"repo\": \"https://h/c\""));
    assert!(home.run("template store describe go").good().contains("Repository:   https://h/t\n"));
    home.run("template store describe rust").bad(1, &["the store has no template rust"]);
    home.run("template pull stack").bad(2, &["names no templates"]);
    home.run("template pull --upload-pack=x").bad(2, &["unexpected argument"]);
    home.run("template pull https://h/t#--x").bad(1, &["is not a branch or tag"]);
    home.run("template pull /none").bad(1, &["error: git clone failed: ", "/none"]);
    let home = home.env("PATH", "/none");
    home.run("template pull x")
        .bad(1, &["the program `git` is not installed", "hint: install git"]);
}
