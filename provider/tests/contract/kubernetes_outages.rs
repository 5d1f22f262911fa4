//! An API server that goes away, and watches that break.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::Kubeconfig;
use provider::kubernetes::{Kubernetes, KubernetesConfig};
use provider::{Error, Provider, Status};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::engine::get;
use crate::kube_objects::api;
use crate::on_kubernetes::{OnKubernetes, SpecialCase};
use crate::support::{Backend, Watcher, address, name};

/// The cases that only Kubernetes must pass.
pub(crate) fn all() -> Vec<(&'static str, SpecialCase)> {
    macro_rules! list {
        ($($case:ident),* $(,)?) => {
            vec![$((stringify!($case), (|b| Box::pin($case(b))) as SpecialCase)),*]
        };
    }
    list![
        the_api_server_goes_away_and_comes_back,
        watches_that_are_cut_are_taken_up_again,
        logs_go_on_after_their_connection_broke,
        a_cluster_that_does_not_answer_is_named,
    ]
}

/// Stands between a provider and the API server, and can be closed.
struct Proxy {
    address: SocketAddr,
    upstream: String,
    connections: JoinSet<()>,
}

impl Proxy {
    async fn open(address: SocketAddr, upstream: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut proxy =
            Self { address, upstream: upstream.to_owned(), connections: JoinSet::new() };
        let upstream = proxy.upstream.clone();
        proxy.connections.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let upstream = upstream.clone();
                pairs.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                    let _closed = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        proxy
    }

    /// Breaks all connections and takes no new ones.
    async fn close(mut self) -> (SocketAddr, String) {
        self.connections.shutdown().await;
        (self.address, self.upstream)
    }

    /// Breaks all connections; new ones can be made at once.
    async fn cut(self) -> Self {
        let (address, upstream) = self.close().await;
        Self::open(address, &upstream).await
    }
}

/// A provider that reaches the API server through a proxy only.
struct Behind {
    proxy: Proxy,
    kubernetes: Arc<dyn Provider>,
    _kubeconfig: TempDir,
}

async fn behind(backend: &OnKubernetes) -> Behind {
    backend.disconnect();
    let mut kubeconfig = Kubeconfig::read().unwrap();
    let cluster = kubeconfig.clusters[0].cluster.as_mut().unwrap();
    let server = cluster.server.clone().unwrap();
    let upstream = server.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let proxy = Proxy::open((Ipv4Addr::LOCALHOST, 0).into(), &upstream).await;
    cluster.server = Some(format!("https://{}", proxy.address));
    // The certificate is for the API server, wherever it is reached.
    cluster.tls_server_name = upstream.rsplit_once(':').map(|(host, _)| host.to_owned());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    std::fs::write(&path, serde_json::to_vec(&kubeconfig).unwrap()).unwrap();
    let config = KubernetesConfig { kubeconfig: Some(path), ..backend.config() };
    let kubernetes = Kubernetes::connect(config).await.unwrap();
    Behind { proxy, kubernetes, _kubeconfig: dir }
}

async fn the_api_server_goes_away_and_comes_back(backend: Arc<OnKubernetes>) {
    let Behind { proxy, kubernetes, _kubeconfig } = behind(&backend).await;
    let mut watcher = Watcher::new(&kubernetes).await;
    let (echo, other) = (name("echo"), name("other"));
    kubernetes.apply(&backend.good("echo", "v1")).await.unwrap();
    kubernetes.apply(&backend.good("other", "v1")).await.unwrap();
    let status = watcher.settled(&echo, 1).await;
    watcher.settled(&other, 1).await;
    kubernetes.health().await.unwrap();

    let (address_of_proxy, upstream) = proxy.close().await;
    let away = kubernetes.health().await.unwrap_err();
    assert!(matches!(away, Error::Unavailable { .. }), "{away:?}");
    let error = kubernetes.apply(&backend.good("echo", "v2")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let known = Watcher::new(&kubernetes).await.now;
    assert_eq!(known[&echo], status, "the last known state stays");
    assert_eq!(get(&address(&known[&echo]), "/").await, "v1");
    assert!(backend.calls().counter(&status.replicas[0].id).enter().is_some(), "calls go on");
    // What happens meanwhile is told once it is back.
    let deployments = api::<Deployment>(&backend.client, &backend.namespace);
    deployments.delete("other", &DeleteParams::background()).await.unwrap();

    let proxy = Proxy::open(address_of_proxy, &upstream).await;
    watcher.until_gone(&other).await;
    kubernetes.health().await.unwrap();
    kubernetes.apply(&backend.good("echo", "v2")).await.unwrap();
    let new = |s: &Status| s.is_settled() && s.generation > status.generation;
    let new = watcher.until(&echo, new).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    drop(kubernetes);
    proxy.close().await;
}

async fn watches_that_are_cut_are_taken_up_again(backend: Arc<OnKubernetes>) {
    let Behind { mut proxy, kubernetes, _kubeconfig } = behind(&backend).await;
    let mut watcher = Watcher::new(&kubernetes).await;
    let echo = name("echo");
    kubernetes.apply(&backend.good("echo", "v1")).await.unwrap();
    watcher.settled(&echo, 1).await;
    let deployments = api::<Deployment>(&backend.client, &backend.namespace);
    for replicas in [2, 1, 3] {
        proxy = proxy.cut().await;
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        deployments.patch_scale("echo", &PatchParams::default(), &patch).await.unwrap();
        watcher.settled(&echo, replicas).await;
    }
    drop(kubernetes);
    proxy.close().await;
}

async fn logs_go_on_after_their_connection_broke(backend: Arc<OnKubernetes>) {
    use futures_util::StreamExt;
    use provider::LogQuery;

    use crate::support::soon;

    let Behind { proxy, kubernetes, _kubeconfig } = behind(&backend).await;
    let mut watcher = Watcher::new(&kubernetes).await;
    let echo = name("echo");
    kubernetes.apply(&backend.good("echo", "v1")).await.unwrap();
    let status = watcher.settled(&echo, 1).await;
    let query =
        LogQuery { name: echo.clone(), instance: None, tail: None, follow: true, since: None };
    let mut lines = kubernetes.logs(query).await.unwrap();
    let mut texts: Vec<String> = Vec::new();
    get(&address(&status), "/say/one").await;
    while texts.last().is_none_or(|text| text != "one") {
        texts.push(soon("one", lines.next()).await.unwrap().unwrap().text);
    }
    let (address_of_proxy, upstream) = proxy.close().await;
    get(&address(&status), "/say/two").await;
    let proxy = Proxy::open(address_of_proxy, &upstream).await;
    get(&address(&status), "/say/three").await;
    while texts.last().is_none_or(|text| text != "three") {
        texts.push(soon("three", lines.next()).await.unwrap().unwrap().text);
    }
    let said: Vec<_> = texts.iter().filter(|t| ["one", "two", "three"].contains(&&***t)).collect();
    assert_eq!(said, ["one", "two", "three"], "every line once");
    drop((lines, kubernetes));
    proxy.close().await;
}

async fn a_cluster_that_does_not_answer_is_named(backend: Arc<OnKubernetes>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let config = KubernetesConfig { kubeconfig: Some(path.clone()), ..backend.config() };
    let error = Kubernetes::connect(config).await.err().expect("there is no such file");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}
