//! What only Docker does, or does in its own way.

use std::sync::Arc;

use futures_util::StreamExt;
use provider::Status;
use provider::docker::{Docker, DockerConfig};
use provider::{
    Address, Error, Function, LogQuery, Provider, Resources, Secret, State, annotation,
};

use crate::engine::{self, get};
use crate::on_docker::{OnDocker, SpecialCase};
use crate::support::{self, Backend, Watcher, address, deploy, in_state, name, scale, soon};
use crate::{registry, spares, takeover};

/// The cases that only Docker must pass.
pub(crate) fn all() -> Vec<(&'static str, SpecialCase)> {
    macro_rules! list {
        ($($module:ident::$case:ident),* $(,)?) => {
            vec![$((stringify!($case), (|b| Box::pin($module::$case(b))) as SpecialCase)),*]
        };
    }
    use self as docker_cases;
    list![
        docker_cases::a_crash_loop_keeps_the_old_serving_and_says_why,
        docker_cases::out_of_memory_is_named,
        docker_cases::a_wrong_port_is_named,
        docker_cases::a_missing_image_keeps_the_old_serving_and_says_why,
        docker_cases::what_the_engine_refuses_leaves_nothing,
        docker_cases::a_program_that_is_not_there_is_named,
        docker_cases::every_function_is_fenced_in,
        docker_cases::a_function_without_a_network_is_called_all_the_same,
        docker_cases::a_bundle_is_refused_with_the_way_out,
        docker_cases::the_socket_is_preferred_and_its_end_is_seen,
        docker_cases::a_crash_is_seen_and_the_replica_comes_back,
        docker_cases::logs_follow_a_replica_through_its_restart,
        docker_cases::what_others_do_to_containers_is_seen,
        docker_cases::two_gateways_do_not_disturb_each_other,
        docker_cases::a_given_away_address_stays,
        spares::what_is_made_beforehand_is_started_when_it_is_wanted,
        docker_cases::what_replicas_use_is_told,
        docker_cases::what_control_groups_do_not_tell_the_engine_does,
        registry::images_are_pulled_with_credentials,
        takeover::a_new_gateway_takes_a_rollout_over,
        takeover::a_removal_outlives_its_gateway,
        takeover::what_a_dead_gateway_left_half_done_goes,
        takeover::zero_and_frozen_outlive_the_gateway,
        takeover::the_engine_goes_away_and_comes_back,
    ]
}

async fn a_crash_loop_keeps_the_old_serving_and_says_why(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.docker().apply(&backend.mode("echo", "crash")).await.unwrap();
    let stuck = watcher.until(&echo, |s| s.reason.contains("restarted 2 times")).await;
    assert!(stuck.reason.contains("exit code 3"), "{}", stuck.reason);
    let told = watcher.until(&echo, |s| s.reason.contains("cannot find the config")).await;
    assert!(told.reason.starts_with(&format!("generation {}", told.generation)));
    let sick = told.replicas.iter().find(|r| r.generation == told.generation).unwrap();
    assert_eq!((sick.state, sick.last_exit.as_str()), (State::Starting, "exit code 3"));
    let serving: Vec<_> = told.ready().map(|r| r.generation).collect();
    assert_eq!(serving, [old.generation]);
    assert_eq!(get(&address(&told), "/").await, "v1");

    // The old one bears the load, and a good version mends everything.
    scale(&*backend, &echo, 2).await;
    watcher.until(&echo, |s| s.ready().count() == 2).await;
    let new = deploy(&*backend, &mut watcher, &backend.good("echo", "v3")).await;
    assert_eq!((get(&address(&new), "/").await.as_str(), new.reason.as_str()), ("v3", ""));
    watcher.until(&echo, |s| s.replicas.len() == 2).await;
    assert_eq!(backend.containers().await.len(), 2);
}

async fn a_function_without_a_network_is_called_all_the_same(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut echo = backend.good("echo", "v1");
    echo.annotations.insert(annotation::NETWORK.to_owned(), "none".to_owned());
    let status = deploy(&*backend, &mut watcher, &echo).await;
    assert_eq!(get(&address(&status), "/").await, "v1");
    let id = &status.replicas[0].id;
    let inspect = backend.engine.inspect_container(id, None).await.unwrap();
    assert_eq!(inspect.host_config.unwrap().network_mode.as_deref(), Some("none"));
}

async fn a_bundle_is_refused_with_the_way_out(backend: Arc<OnDocker>) {
    let mut echo = backend.good("echo", "v1");
    echo.image = format!("bundle:echo@sha256:{}", "0a".repeat(32));
    let error = backend.docker().apply(&echo).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "image"), "{error:?}");
    assert!(error.to_string().contains("--provider process"), "{error}");
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn out_of_memory_is_named(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut hog = backend.mode("hog", "hog");
    hog.limits = Some(Resources { memory: Some("16Mi".to_owned()), ..Resources::default() });
    backend.docker().apply(&hog).await.unwrap();
    // The engine may tell of the end first and of the memory then.
    let told = |s: &Status| s.reason.contains("out of memory, restarted");
    let status = watcher.until(&name("hog"), told).await;
    assert_eq!(status.replicas[0].last_exit, "out of memory");
}

async fn a_wrong_port_is_named(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.docker().apply(&backend.mode("echo", "deaf")).await.unwrap();
    let status = watcher.until(&name("echo"), |s| s.reason.contains("never listened")).await;
    assert!(status.reason.contains("port 8080"), "{}", status.reason);
    assert_eq!(status.ready().count(), 1);
    backend.docker().remove(&name("echo")).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_missing_image_keeps_the_old_serving_and_says_why(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let docker = backend.docker();
    let missing = Function { image: "127.0.0.1:1/none:1".to_owned(), ..backend.good("echo", "v1") };
    let error = docker.apply(&missing).await.unwrap_err();
    assert!(matches!(&error, Error::Image { reason, .. } if !reason.is_empty()), "{error:?}");
    assert!(watcher.now.is_empty());
    assert_eq!(backend.leftovers().await, Vec::<String>::new());

    let never = (annotation::IMAGE_PULL_POLICY.to_owned(), "Never".to_owned());
    let never = Function { annotations: [never].into(), ..missing.clone() };
    let error = docker.apply(&never).await.unwrap_err().to_string();
    assert!(error.contains("never pulled"), "{error}");

    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let error = docker.apply(&missing).await.unwrap_err();
    let told = watcher.until(&name("echo"), |s| !s.reason.is_empty()).await;
    assert_eq!((told.reason, told.replicas[0].state), (error.to_string(), State::Ready));
    let mended = deploy(&*backend, &mut watcher, &backend.good("echo", "v2")).await;
    assert_eq!(mended.reason, "");
}

async fn what_the_engine_refuses_leaves_nothing(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let docker = backend.docker();
    let limited = |limits: Resources| Function {
        limits: Some(limits),
        labels: [("com.openfaas.scale.min".to_owned(), "2".to_owned())].into(),
        ..backend.good("echo", "v1")
    };
    // The engine refuses to make the one, and to start the other.
    let tiny = limited(Resources { memory: Some("1Mi".to_owned()), ..Resources::default() });
    let device = limited(Resources { nvidia_gpu: Some("1".to_owned()), ..Resources::default() });
    let error = docker.apply(&tiny).await.unwrap_err();
    assert!(
        matches!(&error, Error::Invalid { reason, .. } if reason.contains("memory")),
        "{error}"
    );
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
    docker.apply(&device).await.unwrap_err();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());

    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let error = docker.apply(&device).await.unwrap_err().to_string();
    let told = watcher.until(&name("echo"), |s| s.reason == error).await;
    assert_eq!((told.ready().count(), backend.containers().await.len()), (1, 1));
}

async fn a_program_that_is_not_there_is_named(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let image = engine::broken_image(&backend.engine).await;
    let broken = Function { image, ..backend.good("echo", "v1") };
    backend.docker().apply(&broken).await.unwrap();
    let told = watcher.until(&name("echo"), |s| s.reason.contains("not-there")).await;
    assert!(told.reason.contains("exit code 127"), "{}", told.reason);
}

async fn every_function_is_fenced_in(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let secret =
        Secret { name: "key".to_owned(), value: Some("hunter2".to_owned()), ..Secret::default() };
    backend.docker().secrets().create(&secret).await.unwrap();
    let mut function = backend.good("echo", "v1");
    function.secrets = vec!["key".to_owned()];
    function.read_only_root_filesystem = true;
    function.labels.insert("dev.flint.network".to_owned(), "stolen".to_owned());
    let status = deploy(&*backend, &mut watcher, &function).await;
    let at = address(&status);

    assert_eq!(get(&at, "/read/var/openfaas/secrets/key").await, "hunter2");
    assert_ne!(get(&at, "/write/var/openfaas/secrets/key").await, "written");
    assert_eq!(get(&at, "/write/tmp/x").await, "written");
    assert_ne!(get(&at, "/write/x").await, "written");
    let process = get(&at, "/read/proc/self/status").await;
    assert!(process.contains("CapEff:\t0000000000000000"), "{process}");
    assert!(process.contains("NoNewPrivs:\t1"), "{process}");
    let hosts = get(&at, "/read/etc/hosts").await;
    let gateway = backend.docker().gateway_ip().await.unwrap();
    assert!(hosts.contains(&format!("{gateway}\tgateway.openfaas")), "{hosts}");
    assert!(hosts.contains(&format!("{gateway}\tgateway\n")), "{hosts}");
    // Without a read-only root, `/tmp` is as writable.
    function.read_only_root_filesystem = false;
    let status = deploy(&*backend, &mut watcher, &function).await;
    assert_eq!(get(&address(&status), "/write/tmp/x").await, "written");
}

async fn the_socket_is_preferred_and_its_end_is_seen(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut plain = backend.good("plain", "tcp");
    plain.env_vars.remove("SOCKET");
    let status = deploy(&*backend, &mut watcher, &plain).await;
    assert!(matches!(address(&status), Address::Tcp(a) if a.port() == 8080));
    assert_eq!(get(&address(&status), "/").await, "tcp");

    deploy(&*backend, &mut watcher, &backend.good("echo", "unix")).await;
    let echo = name("echo");
    let on_socket = |s: &Status| s.ready().any(|r| matches!(r.address, Some(Address::Unix(_))));
    let status = watcher.until(&echo, on_socket).await;
    watcher.told.clear();
    assert_eq!(get(&address(&status), "/hide").await, "unix");
    let hidden = watcher.until(&echo, |s| s.ready().count() == 0).await;
    // It still answers on its port, but that no longer counts: the address may be another's.
    let inspect = backend.engine.inspect_container(&hidden.replicas[0].id, None).await.unwrap();
    let networks = inspect.network_settings.unwrap().networks.unwrap();
    let ip = networks[&backend.network].ip_address.clone().unwrap();
    get(&Address::Tcp(format!("{ip}:8080").parse().unwrap()), "/exit").await;
    let back = watcher.until(&echo, |s| s.ready().any(|r| r.restarts == 1)).await;
    assert_eq!(get(&address(&back), "/").await, "unix");
    let over_tcp = |s: &Status| s.ready().any(|r| matches!(r.address, Some(Address::Tcp(_))));
    assert!(!watcher.told.iter().any(over_tcp), "{:?}", watcher.told);
}

async fn a_crash_is_seen_and_the_replica_comes_back(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    get(&address(&status), "/exit").await;
    let down = watcher.until(&echo, |s| s.ready().count() == 0).await;
    assert_eq!(down.desired, 1);
    let back = watcher.until(&echo, |s| s.ready().any(|r| r.restarts == 1)).await;
    assert_eq!(back.replicas[0].last_exit, "exit code 7");
    assert_eq!(get(&address(&back), "/").await, "v1");
    assert_eq!(back.reason, "");
}

async fn logs_follow_a_replica_through_its_restart(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let query =
        LogQuery { name: echo.clone(), instance: None, tail: None, follow: true, since: None };
    let mut lines = backend.docker().logs(query).await.unwrap();
    get(&address(&status), "/exit").await;
    let back = watcher.until(&echo, |s| s.ready().any(|r| r.restarts == 1)).await;
    get(&address(&back), "/say/again").await;
    let mut texts = Vec::new();
    while texts.last().is_none_or(|text| text != "again") {
        texts.push(soon("again", lines.next()).await.unwrap().unwrap().text);
    }
    let hellos = texts.iter().filter(|text| *text == "hello from v1").count();
    assert_eq!(hellos, 2, "every line once: {texts:?}");
    // The stream ends with the function.
    backend.docker().remove(&echo).await.unwrap();
    soon("the end of the logs", async { while lines.next().await.is_some() {} }).await;
}

async fn what_others_do_to_containers_is_seen(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    let two = watcher.settled(&echo, 2).await;
    let (first, second) = (&two.replicas[0].id, &two.replicas[1].id);
    backend.engine.pause_container(first).await.unwrap();
    watcher.until(&echo, |s| in_state(s, State::Frozen) == 1).await;
    backend.engine.unpause_container(first).await.unwrap();
    watcher.settled(&echo, 2).await;
    backend.engine.stop_container(second, None).await.unwrap();
    watcher.until(&echo, |s| s.desired == 1 && in_state(s, State::Stopped) == 1).await;
    for replica in [second, first] {
        engine::remove(&backend.engine, replica).await;
    }
    watcher.until_gone(&echo).await;
    assert!(backend.directories().is_empty());
}

async fn two_gateways_do_not_disturb_each_other(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let ours = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let state = tempfile::tempdir().unwrap();
    let network = format!("{}-other", backend.network);
    let config = DockerConfig {
        network: network.clone(),
        state_dir: state.path().to_owned(),
        ..backend.config()
    };
    let other: Arc<dyn Provider> = Docker::connect(config).await.unwrap();
    let mut there = Watcher::new(&other).await;
    assert!(there.now.is_empty());
    other.apply(&backend.good("echo", "v2")).await.unwrap();
    let theirs = there.settled(&name("echo"), 1).await;
    assert_eq!(get(&address(&theirs), "/").await, "v2");
    other.remove(&name("echo")).await.unwrap();
    drop(other);
    engine::clean(&backend.engine, &network).await;
    assert_eq!(watcher.now[&name("echo")], ours);
    assert_eq!(get(&address(&ours), "/").await, "v1");
}

async fn a_given_away_address_stays(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let before = backend.docker().gateway_ip().await.unwrap();
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.docker().remove(&name("echo")).await.unwrap();
    assert_eq!(backend.leftovers().await, [format!("network {}", backend.network)]);
    assert_eq!(backend.docker().gateway_ip().await.unwrap(), before);
}

async fn what_replicas_use_is_told(backend: Arc<OnDocker>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    support::usage_is_told(&*backend, &mut watcher).await;
}

async fn what_control_groups_do_not_tell_the_engine_does(backend: Arc<OnDocker>) {
    backend.disconnect();
    let cgroups = backend.state.path().join("no-control-groups");
    backend.connect_as(DockerConfig { cgroups, ..backend.config() }).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    support::usage_is_told(&*backend, &mut watcher).await;
}
