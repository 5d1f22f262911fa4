//! A cluster under test.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use kube::Client;
use provider::kubernetes::{Kubernetes, KubernetesConfig, Settings};
use provider::{Calls, Function, Name, Provider, Status};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Backend, Case, CaseFuture};
use crate::{engine, kube_objects};

/// The variable that makes a missing cluster a failure.
const REQUIRED: &str = "FLINT_TEST_KUBERNETES";
/// The variable that names the cluster.
const KUBECONFIG: &str = "KUBECONFIG";
/// Longest wait for a cluster to say that it is there.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

pub(crate) type SpecialCase = fn(Arc<OnKubernetes>) -> CaseFuture;

/// A provider with namespaces of its own.
pub(crate) struct OnKubernetes {
    pub(crate) client: Client,
    /// The namespace of functions, and by its name the gateway.
    pub(crate) namespace: String,
    pub(crate) calls: Calls,
    pub(crate) image: String,
    kubernetes: Mutex<Option<Arc<Kubernetes>>>,
    /// Where functions wait that are held.
    gate: Gate,
    /// Tells pods that are told to end.
    _usher: JoinSet<()>,
}

/// Why Kubernetes cannot be tested here; `None` when it can.
pub(crate) fn absent() -> Option<String> {
    if std::env::var_os(KUBECONFIG).is_none() {
        return Some(format!("{KUBECONFIG} names no cluster"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answers = async { Client::try_default().await?.apiserver_version().await };
        match tokio::time::timeout(ANSWER_LIMIT, answers).await {
            Ok(answer) => answer.err().map(|e| format!("the cluster does not answer: {e}")),
            Err(_) => Some("the cluster does not answer in time".to_owned()),
        }
    })
}

/// Why functions cannot be objects of this cluster; `None` when they can.
pub(crate) fn objects_absent() -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let version = async { Client::try_default().await?.apiserver_version().await };
        tokio::time::timeout(ANSWER_LIMIT, version).await
    });
    let server = server.ok()?.ok()?;
    let number = |text: &str| text.trim_end_matches('+').parse::<u32>().unwrap_or_default();
    let go = server.go_version.split('.').nth(1).map_or(0, number);
    (number(&server.minor) < 23 && go >= 18).then(|| {
        let (version, go) = (server.git_version, server.go_version);
        format!(
            "the API server ({version}, {go}) does not survive objects of other kinds than its own"
        )
    })
}

pub(crate) fn is_required() -> bool {
    std::env::var(REQUIRED).is_ok_and(|value| value == "required")
}

pub(crate) async fn run(case: Case) {
    within(|backend| case(backend)).await;
}

pub(crate) async fn run_special(case: SpecialCase) {
    within(case).await;
}

/// Runs a case and cleans up after it, however it ended.
async fn within(case: impl FnOnce(Arc<OnKubernetes>) -> CaseFuture) {
    let client = Client::try_default().await.expect("a cluster");
    let docker = engine::connect().await.expect("an engine that answers");
    let namespace = format!("flint-test-{}", engine::random());
    kube_objects::create_namespace(&client, &namespace).await;
    let mut usher = JoinSet::new();
    usher.spawn(kube_objects::usher(client.clone(), namespace.clone()));
    let backend = Arc::new(OnKubernetes {
        image: engine::image(&docker).await,
        gate: Gate::open(host_ip(&client).await).await,
        client: client.clone(),
        namespace: namespace.clone(),
        calls: Calls::default(),
        kubernetes: Mutex::default(),
        _usher: usher,
    });
    let ended = std::panic::AssertUnwindSafe(async {
        backend.connect().await;
        case(backend.clone()).await;
    });
    let ended = ended.catch_unwind().await;
    backend.disconnect();
    kube_objects::clean(&client, &namespace).await;
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

/// This machine's address as pods know it: the one from which it reaches a node.
async fn host_ip(client: &Client) -> Ipv4Addr {
    let node = kube_objects::node_ip(client).await;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.connect((node, 9)).unwrap();
    match socket.local_addr().unwrap() {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

/// Holds whoever comes until it is opened for good.
struct Gate {
    address: SocketAddr,
    opened: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Gate {
    async fn open(ip: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let address = SocketAddr::from((ip, listener.local_addr().unwrap().port()));
        let opened = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let signal = opened.clone();
        tasks.spawn(async move {
            let mut held = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let mut opened = signal.subscribe();
                held.spawn(async move {
                    let _opened = opened.wait_for(|opened| *opened).await;
                    drop(stream);
                });
            }
        });
        Self { address, opened, _tasks: tasks }
    }
}

impl OnKubernetes {
    pub(crate) fn config(&self) -> KubernetesConfig {
        let settings = Settings {
            gateway_namespace: self.namespace.clone(),
            http_probe: true,
            default_timeout: Duration::from_secs(1),
            ..Settings::default()
        };
        KubernetesConfig {
            function_namespace: self.namespace.clone(),
            profiles_namespace: self.namespace.clone(),
            cluster_wide: true,
            listen_timeout: Duration::from_secs(2),
            settings,
            ..KubernetesConfig::new(self.calls.clone())
        }
    }

    /// A gateway starts.
    pub(crate) async fn connect(&self) {
        let kubernetes = Kubernetes::connect(self.config()).await.unwrap();
        *self.kubernetes.lock().unwrap() = Some(kubernetes);
    }

    /// The gateway is gone, as if killed: it tidies nothing up.
    pub(crate) fn disconnect(&self) {
        *self.kubernetes.lock().unwrap() = None;
    }

    pub(crate) fn kubernetes(&self) -> Arc<Kubernetes> {
        self.kubernetes.lock().unwrap().clone().expect("connected")
    }

    /// A function whose program does as `mode` says.
    pub(crate) fn mode(&self, name: &str, mode: &str) -> Function {
        let mut function = self.good(name, mode);
        function.env_vars.insert("MODE".to_owned(), mode.to_owned());
        function
    }
}

#[async_trait]
impl Backend for OnKubernetes {
    fn provider(&self) -> Arc<dyn Provider> {
        self.kubernetes()
    }

    fn calls(&self) -> Calls {
        self.calls.clone()
    }

    fn good(&self, name: &str, version: &str) -> Function {
        let body = format!(
            r#"{{"service":"{name}","image":"{}","envVars":{{"VERSION":"{version}"}}}}"#,
            self.image
        );
        Function::from_json(body.as_bytes()).unwrap()
    }

    async fn apply_held(&self, name: &str, version: &str) -> Status {
        let mut function = self.good(name, version);
        function.env_vars.insert("WAIT_AT".to_owned(), self.gate.address.to_string());
        self.kubernetes().apply(&function).await.unwrap()
    }

    async fn release(&self, _name: &Name) {
        self.gate.opened.send_replace(true);
    }

    async fn say(&self, status: &Status, instance: &str, text: &str) {
        let replica = status.replicas.iter().find(|r| r.id == instance).unwrap();
        engine::get(replica.address.as_ref().unwrap(), &format!("/say/{text}")).await;
    }

    async fn leftovers(&self) -> Vec<String> {
        kube_objects::leftovers(&self.client, &self.namespace).await
    }

    /// The cluster replaces pods one by one.
    fn moves_at_once(&self) -> bool {
        false
    }

    fn marks_namespaces(&self) -> bool {
        true
    }

    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.namespace)
    }
}
