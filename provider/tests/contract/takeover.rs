//! Gateways that are killed, and an engine that goes away.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use provider::docker::{Docker, DockerConfig};
use provider::{Calls, Error, Provider, State, Status, Target};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::engine::{self, get};
use crate::on_docker::OnDocker;
use crate::support::{Backend, Watcher, address, deploy, in_state, name, scale, soon};

pub(crate) async fn a_new_gateway_takes_a_rollout_over(backend: Arc<OnDocker>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let held = backend.apply_held("echo", "v2").await;
    backend.disconnect();

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let found = watcher.until(&echo, |s| s.ready().count() == 1).await;
    assert_eq!((found.generation, found.desired), (held.generation, 1));
    assert_eq!((found.created_at, &found.function), (old.created_at, &held.function));
    assert_eq!(found.ready().next().unwrap().id, old.replicas[0].id);
    backend.release(&echo).await;
    let new = watcher.settled(&echo, 1).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    assert_eq!(backend.containers().await.len(), 1);
}

pub(crate) async fn a_removal_outlives_its_gateway(backend: Arc<OnDocker>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let call = backend.calls.counter(&status.replicas[0].id).enter().unwrap();
    let docker = backend.docker();
    let removal = tokio::spawn({
        let echo = echo.clone();
        async move { docker.remove(&echo).await }
    });
    watcher.until_gone(&echo).await;
    assert!(!removal.is_finished(), "a call is in flight");
    removal.abort();
    let _aborted = removal.await;
    backend.disconnect();
    assert_eq!(backend.containers().await.len(), 1);

    // The next gateway knows of no calls.
    let config = DockerConfig { calls: Calls::default(), ..backend.config() };
    let next: Arc<dyn Provider> = Docker::connect(config).await.unwrap();
    assert!(Watcher::new(&next).await.now.is_empty());
    soon("the removal", async {
        while !backend.leftovers().await.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(call);
}

pub(crate) async fn what_a_dead_gateway_left_half_done_goes(backend: Arc<OnDocker>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.disconnect();
    // A container of a newer deploy that was made and never started, and a directory of nobody.
    let like = &status.replicas[0].id;
    let inspect = backend.engine.inspect_container(like, None).await.unwrap();
    let config = inspect.config.unwrap();
    let mut labels = config.labels.unwrap();
    labels.insert("dev.flint.generation".to_owned(), (status.generation + 1).to_string());
    labels.insert("dev.flint.replica".to_owned(), format!("{like}x"));
    let body = bollard::models::ContainerCreateBody {
        image: config.image,
        labels: Some(labels),
        host_config: inspect.host_config,
        ..Default::default()
    };
    let options = bollard::query_parameters::CreateContainerOptions {
        name: Some(format!("{like}x")),
        ..Default::default()
    };
    backend.engine.create_container(Some(options), body).await.unwrap();
    std::fs::create_dir_all(backend.state.path().join("replicas/nobody/run")).unwrap();

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let found = watcher.until(&echo, Status::is_settled).await;
    assert_eq!(found.generation, status.generation);
    assert_eq!(get(&address(&found), "/").await, "v1");
    soon("the leftovers go", async {
        while backend.containers().await.len() != 1 || backend.directories().len() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

pub(crate) async fn zero_and_frozen_outlive_the_gateway(backend: Arc<OnDocker>) {
    let (cold, frozen) = (name("cold"), name("frozen"));
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("cold", "v1")).await;
    deploy(&*backend, &mut watcher, &backend.good("frozen", "v1")).await;
    scale(&*backend, &cold, 0).await;
    backend.docker().scale(&frozen, Target::Frozen).await.unwrap();
    watcher.until(&cold, |s| in_state(s, State::Stopped) == 1).await;
    watcher.until(&frozen, |s| in_state(s, State::Frozen) == 1).await;
    backend.disconnect();

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    assert_eq!(watcher.now[&cold].desired, 0);
    assert_eq!((watcher.now[&frozen].desired, watcher.now[&frozen].ready().count()), (1, 0));
    for function in [&cold, &frozen] {
        scale(&*backend, function, 1).await;
        let status = watcher.settled(function, 1).await;
        assert_eq!(get(&address(&status), "/").await, "v1");
    }
}

/// Stands between a provider and the engine, and can be closed.
struct Proxy {
    socket: PathBuf,
    connections: JoinSet<()>,
}

impl Proxy {
    fn open(socket: &Path) -> Self {
        let mut proxy = Self { socket: socket.to_owned(), connections: JoinSet::new() };
        let listener = UnixListener::bind(socket).unwrap();
        proxy.connections.spawn(async move {
            let mut pairs = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                pairs.spawn(async move {
                    let engine = engine::host();
                    let path = engine.strip_prefix("unix://").expect("an engine on a socket");
                    let mut server = UnixStream::connect(path).await.unwrap();
                    let _closed = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        proxy
    }

    async fn close(mut self) {
        self.connections.shutdown().await;
        std::fs::remove_file(&self.socket).unwrap();
    }
}

pub(crate) async fn the_engine_goes_away_and_comes_back(backend: Arc<OnDocker>) {
    backend.disconnect();
    let socket = backend.state.path().join("engine.sock");
    let proxy = Proxy::open(&socket);
    let host = format!("unix://{}", socket.display());
    let config = DockerConfig { host, ..backend.config() };
    let docker: Arc<dyn Provider> = Docker::connect(config).await.unwrap();
    let mut watcher = Watcher::new(&docker).await;
    let echo = name("echo");
    docker.apply(&backend.good("echo", "v1")).await.unwrap();
    docker.apply(&backend.good("other", "v1")).await.unwrap();
    let status = watcher.settled(&echo, 1).await;
    watcher.settled(&name("other"), 1).await;

    proxy.close().await;
    assert!(matches!(docker.health().await, Err(Error::Unavailable { .. })));
    let error = docker.apply(&backend.good("echo", "v2")).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let told = watcher.until(&echo, |s| !s.reason.is_empty()).await;
    assert_eq!(told.ready().count(), 1, "the last known state stays");
    assert_eq!(get(&address(&told), "/").await, "v1");
    // What happens meanwhile is told once it is back.
    engine::remove(&backend.engine, &watcher.now[&name("other")].replicas[0].id).await;
    let resets = watcher.resets;

    let proxy = Proxy::open(&socket);
    while watcher.resets == resets {
        watcher.step().await;
    }
    watcher.until_gone(&name("other")).await;
    watcher.until(&echo, |s| s.ready().any(|r| r.id == status.replicas[0].id)).await;
    docker.health().await.unwrap();
    docker.apply(&backend.good("echo", "v2")).await.unwrap();
    let new = watcher.until(&echo, |s| s.is_settled() && s.generation > status.generation).await;
    assert_eq!(get(&address(&new), "/").await, "v2");
    docker.remove(&echo).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
    drop(docker);
    proxy.close().await;
}
