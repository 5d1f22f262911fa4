//! `certify`: what it says of gateways that are away, refuse, or lose calls.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::gateway::{Gateway, Reply, Request};
use crate::run::Home;

/// A gateway of containers whose functions send bodies back; each so-many-th call fails.
fn gateway(fail_each: u32) -> Gateway {
    let (replicas, calls) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(0)));
    Gateway::new(move |request| {
        answer(request, &replicas, || {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            fail_each > 0 && call % fail_each == fail_each - 1
        })
    })
}

fn answer(request: &Request, replicas: &AtomicU32, fails: impl Fn() -> bool) -> Reply {
    let now = replicas.load(Ordering::Relaxed);
    match (&*request.method, &*request.path) {
        (_, path) if path.starts_with("/function/") => match fails() {
            true => (500, "on purpose").into(),
            false => {
                // A call wakes what sleeps.
                replicas.store(now.max(1), Ordering::Relaxed);
                Reply(200, String::new(), request.body.clone())
            }
        },
        ("POST", path) if path.starts_with("/system/scale-function/") => {
            let wanted = request.json()["replicas"].as_u64().unwrap();
            replicas.store(wanted as u32, Ordering::Relaxed);
            202.into()
        }
        ("GET", path) if path.starts_with("/system/function/") => {
            let body = format!(r#"{{"name":"f","replicas":{now},"availableReplicas":{now}}}"#);
            (200, &*body).into()
        }
        ("GET", _) => (200, "{}").into(),
        _ => 202.into(),
    }
}

const SHORT: &str = "certify --duration 1s --rate 20 --replicas 2";

#[test]
fn a_gateway_that_loses_no_call_passes_and_is_left_clean() {
    let gateway = gateway(0);
    let run = Home::new(&gateway.url).run(&format!("{SHORT} --json"));
    let page: serde_json::Value = serde_json::from_str(run.good()).unwrap();
    assert_eq!((&page["passed"], &page["failures"]), (&true.into(), &0.into()), "{page:#}");
    let steps: Vec<_> = page["steps"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(
        steps,
        [
            "nothing changes",
            "rolling update",
            "broken update",
            "update after it",
            "scale up",
            "scale down",
            "to zero under load",
            "from zero"
        ]
    );
    assert!(page["steps"].as_array().unwrap().iter().all(|s| s["calls"].as_u64() >= Some(10)));
    assert_eq!(page["notChecked"].as_array().unwrap().len(), 3);
    let requests = gateway.requests();
    let first = requests.iter().find(|r| r.method == "PUT").unwrap().json();
    let name = first["service"].as_str().unwrap();
    assert!(name.starts_with("flint-certify-"), "{name}");
    assert_eq!(
        (&first["image"], &first["envProcess"]),
        (&"ghcr.io/openfaas/alpine:latest".into(), &"cat".into())
    );
    let last = requests.last().unwrap();
    assert_eq!((&*last.method, &last.json()["functionName"]), ("DELETE", &name.into()));
}

#[test]
fn calls_that_fail_are_counted_and_told() {
    let gateway = gateway(10);
    let run = Home::new(&gateway.url).run(SHORT);
    run.bad(1, &["calls failed"]);
    assert!(run.stdout.contains("status 500: on purpose"), "{}", run.stdout);
    assert!(run.stdout.contains("STEP") && run.stdout.contains("Not checked"), "{}", run.stdout);
    assert!(gateway.lines().last().unwrap().starts_with("DELETE "));
}

#[test]
fn a_wrong_answer_is_a_failure_where_the_answer_is_known() {
    let wrong = |request: &Request| match request.path.starts_with("/function/") {
        true => (200, "hello"),
        false => (200, r#"{"name":"f","replicas":1,"availableReplicas":1}"#),
    };
    let gateway = Gateway::new(wrong);
    let run = Home::new(&gateway.url).run(&format!("{SHORT} --timeout 1s --image i --echo -e A=b"));
    run.bad(1, &["calls failed"]);
    assert!(run.stdout.contains("wrong answer"), "{}", run.stdout);
    assert!(run.stdout.contains("Not done: scale up: 1 replicas, not 2"), "{}", run.stdout);
    let put = gateway.requests().into_iter().find(|r| r.method == "PUT").unwrap().json();
    assert_eq!((&put["image"], &put["envVars"]["A"]), (&"i".into(), &"b".into()));

    let gateway = Gateway::new(wrong);
    let run = Home::new(&gateway.url).run(&format!("{SHORT} --timeout 1s --image i"));
    run.bad(1, &["2 changes did not come about"]);
    assert!(!run.stdout.contains("Failed calls"), "any answer is good here: {}", run.stdout);
}

#[test]
fn a_gateway_that_is_away_or_says_no_is_not_checked() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Home::new(&format!("http://{free}")).run(SHORT);
    run.bad(1, &["no gateway answers at"]);

    let closed = Gateway::always(401, "");
    Home::new(&closed.url).run(SHORT).bad(1, &["unauthorized access", "faas login"]);
    assert_eq!(closed.lines(), ["GET /system/info"]);

    let refusing = Gateway::new(|r: &Request| match &*r.method {
        "PUT" => (400, "image: no such image"),
        _ => (200, "{}"),
    });
    Home::new(&refusing.url).run(SHORT).bad(1, &["no such image"]);
}

#[test]
fn a_function_that_cannot_be_removed_is_named() {
    let gateway = Gateway::new(|r: &Request| match (&*r.method, r.path.contains("/info")) {
        (_, true) => (200, "{}"),
        ("DELETE", _) => (409, "busy"),
        _ => (400, "no"),
    });
    let run = Home::new(&gateway.url).run(SHORT);
    run.bad(1, &["function flint-certify-", " is left", "busy", "`faas remove flint-certify-"]);
}

#[test]
fn by_hand_is_asked_for_one_after_the_other() {
    let gateway = gateway(0);
    let run = Home::new(&gateway.url).pipe(&format!("{SHORT} --interactive"), "\n\n");
    run.bad(1, &["Now kill -9 one replica", "Press Enter", "1 changes did not come about"]);
    assert!(run.stdout.contains("replica killed"), "{}", run.stdout);
    assert!(
        run.stdout.contains("Not done: engine restarted: nobody pressed Enter"),
        "{}",
        run.stdout
    );
    assert!(!run.stdout.contains("Not checked"), "{}", run.stdout);
}

#[test]
fn flags_have_bounds() {
    let home = Home::new("http://127.0.0.1:9");
    for (flag, words) in [
        ("--rate 0", "1..=1000"),
        ("--rate 1001", "1..=1000"),
        ("--replicas 1", "2..=100"),
        ("--replicas 101", "2..=100"),
        ("--duration 500ms", "from 1s to 1h"),
        ("--duration 2h", "from 1s to 1h"),
        ("--echo", "--image"),
        ("--env A=b", "--image"),
    ] {
        home.run(&format!("certify {flag}")).bad(2, &[words]);
    }
}
