//! From deploy to removal.

use std::sync::Arc;

use provider::{Error, Name, Namespace, State, Target};

use crate::support::{Backend, Watcher, address, deploy, in_state, name, namespaces, scale};

pub(crate) async fn a_deploy_is_seen_and_becomes_ready(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let status = provider.apply(&backend.good("echo", "v1")).await.unwrap();
    assert_eq!((status.desired, status.function.service.as_str()), (1, "echo"));
    assert!(status.generation > 0);
    let echo = name("echo");
    let seen = Watcher::new(&provider).await;
    assert_eq!(seen.now[&echo].generation, status.generation, "a read follows a write");
    let ready = watcher.settled(&echo, 1).await;
    assert_eq!((ready.generation, ready.reason.as_str()), (status.generation, ""));
    assert_eq!(ready.replicas.len(), 1);
    address(&ready);
}

pub(crate) async fn an_update_is_never_without_a_ready_replica(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    let old =
        watcher.until(&echo, |s| s.ready().count() == 2 && s.generation == old.generation).await;
    watcher.told.clear();

    let status = backend.apply_held("echo", "v2").await;
    assert!(status.generation > old.generation);
    assert_eq!(status.desired, 2, "an update keeps the number of replicas");
    assert_eq!(status.created_at, old.created_at);
    let replicas = if backend.moves_at_once() { 4 } else { 3 };
    let begun =
        |s: &provider::Status| s.generation == status.generation && s.replicas.len() == replicas;
    watcher.until(&echo, begun).await;
    backend.release(&echo).await;
    let new = watcher.settled(&echo, 2).await;
    assert_eq!(new.function.env_vars["VERSION"], "v2");
    for told in &watcher.told {
        let generations: Vec<_> = told.ready().map(|r| r.generation).collect();
        assert!(!generations.is_empty(), "a moment without a ready replica: {told:?}");
        if !backend.moves_at_once() {
            continue;
        }
        let same = generations.iter().all(|g| *g == generations[0]);
        assert!(same, "two versions serve at once: {told:?}");
        if generations[0] == status.generation {
            assert_eq!(generations.len(), 2, "the new one serves before it is whole: {told:?}");
        }
    }
}

pub(crate) async fn an_update_waits_for_calls_in_flight(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let replica = old.replicas[0].id.clone();
    let counter = backend.calls().counter(&replica);
    let call = counter.enter().unwrap();

    let new = provider.apply(&backend.good("echo", "v2")).await.unwrap();
    let moved = watcher.until(&echo, |s| s.ready().any(|r| r.generation == new.generation)).await;
    let draining = moved.replicas.iter().find(|r| r.id == replica).unwrap();
    assert_eq!(draining.state, State::Draining);
    while !counter.is_closed() {
        tokio::task::yield_now().await;
    }
    assert!(counter.enter().is_none(), "no new call gets in");
    drop(call);
    let settled = watcher.settled(&echo, 1).await;
    assert!(settled.replicas.iter().all(|r| r.id != replica));
}

pub(crate) async fn a_newer_deploy_replaces_one_that_is_not_ready(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    let first = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let stuck = backend.apply_held("echo", "v2").await;
    watcher.told.clear();
    let last = provider.apply(&backend.good("echo", "v3")).await.unwrap();
    assert!(first.generation < stuck.generation && stuck.generation < last.generation);
    let settled = watcher.until(&echo, |s| s.generation == last.generation && s.is_settled()).await;
    assert_eq!(settled.function.env_vars["VERSION"], "v3");
    for told in &watcher.told {
        assert!(told.ready().count() > 0, "a moment without a ready replica: {told:?}");
        assert!(told.ready().all(|r| r.generation != stuck.generation));
    }
}

pub(crate) async fn scaling_adds_and_drains_replicas(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 3).await;
    let three = watcher.settled(&echo, 3).await;
    let slots: Vec<_> = three
        .ready()
        .map(|r| backend.calls().counter(&r.id).enter().expect("ready replicas take calls"))
        .collect();

    watcher.told.clear();
    scale(&*backend, &echo, 1).await;
    let moved = |s: &provider::Status| backend.moves_at_once() || s.ready().count() == 1;
    let one = watcher.until(&echo, |s| s.desired == 1 && moved(s)).await;
    assert_eq!((one.ready().count(), in_state(&one, State::Draining)), (1, 2));
    drop(slots);
    let settled = watcher.until(&echo, |s| s.replicas.len() == 1).await;
    assert_eq!(settled.ready().count(), 1);
    assert!(watcher.told.iter().all(|s| s.ready().count() >= 1));
}

pub(crate) async fn zero_keeps_the_function_and_back(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    let before = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    watcher.settled(&echo, 2).await;
    scale(&*backend, &echo, 0).await;
    let down = |s: &provider::Status| s.replicas.iter().all(|r| r.state == State::Stopped);
    let zero = watcher.until(&echo, |s| s.desired == 0 && down(s)).await;
    assert_eq!(zero.generation, before.generation);
    assert_eq!(zero.function, before.function);
    assert_eq!(Watcher::new(&provider).await.now[&echo].desired, 0);

    scale(&*backend, &echo, 1).await;
    let up = watcher.settled(&echo, 1).await;
    assert_eq!((up.generation, up.created_at), (before.generation, before.created_at));
    assert_eq!(up.replicas.len(), 1, "what was kept runs again, nothing beside it");
    let counter = backend.calls().counter(&up.ready().next().unwrap().id);
    assert!(counter.enter().is_some(), "it takes calls again");

    // At zero an update starts the function, so that one sees whether it works.
    scale(&*backend, &echo, 0).await;
    watcher.until(&echo, |s| s.desired == 0 && down(s)).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v2")).await;
}

pub(crate) async fn frozen_and_back(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    assert!(provider.info().freezes);
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    provider.scale(&echo, Target::Frozen).await.unwrap();
    let frozen = watcher.until(&echo, |s| in_state(s, State::Frozen) == 1).await;
    assert_eq!((frozen.ready().count(), frozen.desired), (0, 1));
    scale(&*backend, &echo, 1).await;
    let thawed = watcher.settled(&echo, 1).await;
    assert_eq!(thawed.replicas[0].id, frozen.replicas[0].id, "it is the same replica");
    let counter = backend.calls().counter(&thawed.replicas[0].id);
    assert!(counter.enter().is_some());
    // From frozen, all the way down.
    provider.scale(&echo, Target::Frozen).await.unwrap();
    watcher.until(&echo, |s| in_state(s, State::Frozen) == 1).await;
    scale(&*backend, &echo, 0).await;
    let down = |s: &provider::Status| s.replicas.iter().all(|r| r.state == State::Stopped);
    watcher.until(&echo, |s| s.desired == 0 && down(s)).await;
}

pub(crate) async fn all_is_frozen_or_nothing_and_all_comes_back(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 3).await;
    let three = watcher.settled(&echo, 3).await;
    let counters: Vec<_> = three.replicas.iter().map(|r| backend.calls().counter(&r.id)).collect();
    let call = counters[1].enter().unwrap();
    let error = provider.scale(&echo, Target::Frozen).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict(text) if text.contains("in flight")), "{error}");
    watcher.settled(&echo, 3).await;
    assert!(counters.iter().all(|counter| counter.enter().is_some()), "all take calls as before");
    drop(call);

    for _again in 0..2 {
        provider.scale(&echo, Target::Frozen).await.unwrap();
        let frozen = watcher.until(&echo, |s| in_state(s, State::Frozen) == 3).await;
        assert_eq!((frozen.ready().count(), frozen.desired), (0, 3));
        scale(&*backend, &echo, 3).await;
        let back = watcher.settled(&echo, 3).await;
        assert_eq!(back.replicas, three.replicas, "they are the same replicas");
        assert!(counters.iter().all(|counter| counter.enter().is_some()));
    }
}

pub(crate) async fn what_is_frozen_is_updated_and_removed(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    provider.scale(&echo, Target::Frozen).await.unwrap();
    watcher.until(&echo, |s| in_state(s, State::Frozen) == 1).await;
    // While the new one gets ready, the old one is thawed by whoever calls.
    let held = backend.apply_held("echo", "v2").await;
    watcher.until(&echo, |s| s.generation == held.generation).await;
    scale(&*backend, &echo, 1).await;
    watcher.until(&echo, |s| s.ready().any(|r| r.generation < held.generation)).await;
    backend.release(&echo).await;
    let new = watcher.settled(&echo, 1).await;
    assert_eq!((new.generation, new.replicas.len()), (held.generation, 1));
    for version in ["v3", "v4"] {
        provider.scale(&echo, Target::Frozen).await.unwrap();
        watcher.until(&echo, |s| in_state(s, State::Frozen) == 1).await;
        let status = deploy(&*backend, &mut watcher, &backend.good("echo", version)).await;
        assert_eq!((status.replicas.len(), &*status.function.env_vars["VERSION"]), (1, version));
    }
    provider.scale(&echo, Target::Frozen).await.unwrap();
    provider.remove(&echo).await.unwrap();
    watcher.until_gone(&echo).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

pub(crate) async fn removal_leaves_nothing(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let echo = name("echo");
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    watcher.settled(&echo, 2).await;
    provider.remove(&echo).await.unwrap();
    watcher.until_gone(&echo).await;
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
    assert!(matches!(provider.remove(&echo).await, Err(Error::NotFound(_))));
    // The name is free again.
    let again = deploy(&*backend, &mut watcher, &backend.good("echo", "v2")).await;
    assert_eq!(again.desired, 1);
}

pub(crate) async fn namespaces_keep_functions_apart(backend: Arc<dyn Backend>) {
    let provider = backend.provider();
    let mut watcher = Watcher::new(&provider).await;
    let space = backend.namespace("dev");
    let dev = Namespace { name: space.clone(), ..Namespace::default() };
    namespaces(&*provider).create(&dev).await.unwrap();
    let mut there = backend.good("echo", "dev");
    there.namespace.clone_from(&space);
    let there_name = name(&format!("echo.{space}"));
    deploy(&*backend, &mut watcher, &backend.good("echo", "main")).await;
    deploy(&*backend, &mut watcher, &there).await;
    let version = |w: &Watcher, n: &Name| w.now[n].function.env_vars["VERSION"].clone();
    assert_eq!(version(&watcher, &name("echo")), "main");
    assert_eq!(version(&watcher, &there_name), "dev");
    let error = namespaces(&*provider).remove(&space).await.unwrap_err();
    assert!(matches!(&error, Error::Conflict(text) if text.contains("function echo")), "{error}");
    provider.remove(&there_name).await.unwrap();
    watcher.until_gone(&there_name).await;
    assert!(watcher.now.contains_key(&name("echo")));
    namespaces(&*provider).remove(&space).await.unwrap();
}
