use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use super::*;

/// What a scripted Prometheus does with a query.
#[derive(Clone)]
enum Script {
    Answer(StatusCode, String),
    Hang,
}

type Scripts = Arc<Mutex<HashMap<String, Script>>>;

/// A server that answers each expression as scripted.
async fn server() -> (Url, Scripts) {
    async fn query(
        State(scripts): State<Scripts>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Response {
        let script = locked(&scripts).get(&query["query"]).cloned();
        match script {
            Some(Script::Answer(status, body)) => (status, body).into_response(),
            Some(Script::Hang) => std::future::pending().await,
            None => (StatusCode::BAD_REQUEST, "no script").into_response(),
        }
    }
    let scripts = Scripts::default();
    let router = Router::new().route("/api/v1/query", get(query)).with_state(scripts.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://user:hunter2@{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url.parse().unwrap(), scripts)
}

fn vector(series: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}"#)
}

fn series(function: &str, value: &str) -> String {
    format!(r#"{{"metric":{{"function_name":"{function}"}},"value":[1.5,"{value}"]}}"#)
}

fn with(url: Url, names: &[&str]) -> Prometheus {
    let by_name = names.iter().map(|name| ((*name).to_owned(), format!("the({name})"))).collect();
    Prometheus::new(Queries { url, by_name }).unwrap()
}

const F: &str = "f.openfaas-fn";

async fn asked(script: Script) -> Result<f64, String> {
    let (url, scripts) = server().await;
    locked(&scripts).insert("the(latency)".to_owned(), script);
    let prometheus = with(url, &["latency"]);
    prometheus.refresh("latency").await;
    let load = prometheus.load("latency", F);
    if let Err(error) = &load {
        assert!(!error.contains("hunter2"), "{error}");
    }
    load
}

async fn answered(body: &str) -> Result<f64, String> {
    asked(Script::Answer(StatusCode::OK, body.to_owned())).await
}

#[tokio::test]
async fn a_vector_has_a_value_for_each_function() {
    let body = vector(&[series("g.openfaas-fn", "7"), series(F, "12.5")].join(","));
    assert_eq!(answered(&body).await, Ok(12.5));
}

#[tokio::test]
async fn what_is_no_value_is_not_zero() {
    for (body, words) in [
        (vector(""), "no latency of it"),
        (vector(&series(F, "NaN")), "no latency of it"),
        (vector(&series(F, "+Inf")), "no latency of it"),
        (vector(r#"{"metric":{},"value":[1,"2"]}"#), "without the label function_name"),
        (vector(&[series(F, "1"), series(F, "2")].join(",")), "sum them"),
        (vector(r#"{"metric":{"function_name":"f"},"value":7}"#), "cannot be read"),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned(),
            "a matrix",
        ),
        (
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}"#.to_owned(),
            "a scalar",
        ),
        (r#"{"status":"error","error":"parse error: bad"}"#.to_owned(), "parse error: bad"),
        ("<html>".to_owned(), "not Prometheus's"),
        (String::new(), "not Prometheus's"),
        (" ".repeat(MAX_ANSWER_BYTES + 1), "more than 8388608 bytes"),
    ] {
        let error = answered(&body).await.unwrap_err();
        assert!(error.contains(words), "{words}: {error}");
    }
    let body = r#"{"status":"error","error":"too busy"}"#.to_owned();
    let error = asked(Script::Answer(StatusCode::SERVICE_UNAVAILABLE, body)).await.unwrap_err();
    assert!(error.contains("too busy (status 503)"), "{error}");
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let error = asked(Script::Hang).await.unwrap_err();
    assert!(error.contains("timed out"), "{error}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let prometheus = with(format!("http://{closed}").parse().unwrap(), &["latency"]);
    let _ = prometheus.load("latency", F);
    prometheus.refresh("latency").await;
    let error = prometheus.load("latency", F).unwrap_err();
    assert!(error.contains("cannot be asked"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_says_nothing() {
    let prometheus = with("http://127.0.0.1:1".parse().unwrap(), &["latency"]);
    let answer = |error: Option<&str>| Answer {
        at: Some(Instant::now()),
        values: [(F.to_owned(), 3.0)].into(),
        error: error.map(str::to_owned),
    };
    assert!(prometheus.load("latency", F).unwrap_err().contains("not asked yet"));
    locked(&prometheus.answers).insert("latency".to_owned(), answer(Some("it is away")));
    tokio::time::advance(STALE).await;
    assert_eq!(prometheus.load("latency", F), Ok(3.0), "one round may fail");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(prometheus.load("latency", F), Err("it is away".to_owned()));
}

#[tokio::test]
async fn only_what_functions_are_scaled_by_is_asked_for() {
    let (url, scripts) = server().await;
    for (_, expression) in BUILT_IN {
        let answer = Script::Answer(StatusCode::OK, vector(&series(F, "4")));
        locked(&scripts).insert(expression.to_owned(), answer);
    }
    let prometheus = Arc::new(with(url, &[]));
    assert!(prometheus.load("latency", F).unwrap_err().contains("--scaling-query"));
    assert!(prometheus.load("rps", F).is_err());
    let follow = tokio::spawn({
        let prometheus = prometheus.clone();
        async move { prometheus.follow().await }
    });
    while prometheus.load("rps", F).is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(locked(&prometheus.answers).len(), 1, "nobody asked for capacity");
    follow.abort();
}
