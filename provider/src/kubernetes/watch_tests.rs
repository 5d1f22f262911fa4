//! Watches of an API server that says what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Kubernetes, KubernetesConfig};
use crate::{Calls, Event, Provider, Status};

/// A status and a body for a path; a watch without news stays open.
type Answers = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// An API server without any cluster behind it.
struct Server {
    config: KubernetesConfig,
    _kubeconfig: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answers: Arc<Answers>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let text = json!({
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "c",
        });
        let kubeconfig = tempfile::tempdir().unwrap();
        let path = kubeconfig.path().join("kubeconfig");
        std::fs::write(&path, text.to_string()).unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(answer(stream, answers.clone()));
            }
        });
        let usual = KubernetesConfig::new(Calls::default());
        let config = KubernetesConfig { kubeconfig: Some(path), ..usual };
        Self { config, _kubeconfig: kubeconfig, _tasks: tasks }
    }
}

async fn answer(mut stream: TcpStream, answers: Arc<Answers>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = answers(path);
    let kind = "content-type: application/json\r\nconnection: close";
    let text = format!("HTTP/1.1 {status} x\r\n{kind}\r\n\r\n{body}");
    let _gone = stream.write_all(text.as_bytes()).await;
    if is_watch(path) && body.is_empty() {
        std::future::pending::<()>().await;
    }
}

fn is_watch(path: &str) -> bool {
    path.contains("watch=true")
}

/// A Deployment of a function.
fn deployment(name: &str, version: &str, replicas: u32) -> Value {
    let labels = json!({"faas_function": name});
    let container = json!({"name": name, "image": "flint/echo:1"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    json!({
        "metadata": {"name": name, "namespace": "openfaas-fn", "uid": name, "labels": labels,
            "resourceVersion": version},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    })
}

fn listed(kind: &str, items: &[Value]) -> String {
    let kind = format!("{kind}List");
    json!({"kind": kind, "metadata": {"resourceVersion": "5"}, "items": items}).to_string()
}

/// What is sent when the history that a watch asks for is not kept any more.
fn expired() -> String {
    let status = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired",
        "message": "too old resource version"});
    format!("{}\n", json!({"type": "ERROR", "object": status}))
}

fn desired(all: &[Status]) -> Vec<(&str, u32)> {
    all.iter().map(|status| (status.function.service.as_str(), status.desired)).collect()
}

#[tokio::test]
async fn a_history_that_is_not_kept_any_more_is_listed_anew() {
    let (lists, watches) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let server = Server::start(Arc::new(move |path| {
        if !path.contains("/deployments?") {
            return (200, if is_watch(path) { String::new() } else { listed("Pod", &[]) });
        }
        let first = |count: &AtomicUsize| count.fetch_add(1, Ordering::SeqCst) == 0;
        let body = match is_watch(path) {
            true if first(&watches) => expired(),
            true => String::new(),
            false if first(&lists) => {
                listed("Deployment", &[deployment("a", "3", 1), deployment("b", "4", 1)])
            }
            false => listed("Deployment", &[deployment("b", "8", 2), deployment("c", "9", 3)]),
        };
        (200, body)
    }))
    .await;
    let kubernetes = Kubernetes::connect(server.config.clone()).await.unwrap();
    let mut events = kubernetes.watch();
    loop {
        let event = events.next().await;
        let Some(Event::Reset(all)) = event else { panic!("all is told anew: {event:?}") };
        match desired(&all).as_slice() {
            [("a", 1), ("b", 1)] => {}
            [("b", 2), ("c", 3)] => break,
            other => panic!("neither the old nor the new: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_missing_right_ends_the_start_and_is_named() {
    let message = "deployments.apps is forbidden: User \"u\" cannot list resource \"deployments\" \
                   in API group \"apps\" in the namespace \"openfaas-fn\"";
    let status = json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
        "message": message});
    let server = Server::start(Arc::new(move |_| (403, status.to_string()))).await;
    let error = Kubernetes::connect(server.config.clone()).await.err().expect("it may not");
    let error = error.to_string();
    assert!(error.contains("cannot list resource \"deployments\""), "{error}");
    assert!(error.contains("give it a Role"), "it says what to do: {error}");
}
