//! `invoke`: bodies, headers, failures.

use std::fs::File;

use crate::gateway::{Gateway, Reply};
use crate::run::{Home, finish};

#[test]
fn a_call_streams_stdin_and_prints_the_answer() {
    let gateway = Gateway::new(|r| Reply(200, String::new(), r.body.clone()));
    let home = Home::new(&gateway.url);
    let line = "invoke echo -n dev --query a=b~c -H X-A:~1 -H x-b=2 --content-type text/csv";
    assert_eq!(home.pipe(line, "hello").good(), "hello");
    let [request] = &gateway.requests()[..] else { panic!() };
    assert_eq!(request.line(), "POST /function/echo.dev?a=b+c");
    assert_eq!(request.header("x-a"), Some("1"));
    assert_eq!(request.header("x-b"), Some("2"));
    assert_eq!(request.header("content-type"), Some("text/csv"));
    let big = "x".repeat(300_000);
    assert_eq!(home.pipe("invoke echo", &big).good(), big);
}

#[test]
fn a_file_has_its_length_and_nothing_has_no_body() {
    let gateway = Gateway::new(|r| Reply(200, String::new(), r.body.clone()));
    let home = Home::new(&gateway.url).file("in", "from a file");
    let mut command = home.command("invoke echo");
    command.stdin(File::open(home.path("in")).unwrap());
    assert_eq!(finish(command).good(), "from a file");
    assert_eq!(home.run("invoke echo -m get").good(), "");
    let requests = gateway.requests();
    assert_eq!(requests[0].header("content-length"), Some("11"));
    assert_eq!(requests[0].header("transfer-encoding"), None);
    assert_eq!(requests[1].line(), "GET /function/echo");
    assert_eq!(requests[1].header("transfer-encoding"), None);
}

#[test]
fn the_gateway_s_credentials_stay_away_from_functions() {
    let gateway = Gateway::always(200, "[]");
    let home = Home::new(&gateway.url);
    home.run("login -p secret").good();
    home.run("invoke echo").good();
    home.run("list").good();
    let requests = gateway.requests();
    assert_eq!(requests[1].header("authorization"), None);
    assert_eq!(requests[2].header("authorization"), Some("Basic YWRtaW46c2VjcmV0"));
}

#[test]
fn asynchronous_calls_are_taken_with_202_only() {
    let gateway = Gateway::always(202, "");
    let run = Home::new(&gateway.url).pipe("invoke echo --async", "x");
    assert_eq!(run.good(), "");
    assert!(run.stderr.contains("Function submitted asynchronously."));
    assert_eq!(gateway.lines(), ["POST /async-function/echo"]);
    let gateway = Gateway::always(200, "");
    Home::new(&gateway.url).run("invoke echo -a").bad(1, &["unexpected status code: 200"]);
}

#[test]
fn failures_show_status_and_body() {
    for status in [301, 400, 401, 404, 429, 500, 502, 503, 504] {
        let gateway = Gateway::new(move |_| (status, "it broke"));
        let run = Home::new(&gateway.url).run("invoke echo");
        let text = format!("error: server returned unexpected status code: {status} - it broke");
        run.bad(1, &[&text]);
        assert_eq!(run.stdout, "");
    }
    let home = Home::new("http://127.0.0.1:1");
    home.run("invoke echo -H nothing").bad(2, &["must be"]);
    home.run("invoke").bad(2, &["Usage"]);
}
