//! Gateways that are killed or told to end, and what the next one makes of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use provider::process::{Process, ProcessConfig};
use provider::{Calls, Provider, State, Status, Target};
use serde_json::{Value, json};

use crate::engine::get;
use crate::on_process::{OnProcess, SpecialCase, kill, watchdog};
use crate::support::{Backend, Watcher, address, deploy, in_state, name, scale, soon};

pub(crate) fn all() -> Vec<(&'static str, SpecialCase)> {
    macro_rules! list {
        ($($case:ident),* $(,)?) => {
            vec![$((stringify!($case), (|backend| Box::pin($case(backend))) as SpecialCase)),*]
        };
    }
    list![
        what_runs_is_adopted_as_it_is,
        a_new_gateway_takes_a_rollout_over,
        a_removal_outlives_its_gateway,
        zero_and_frozen_outlive_the_gateway,
        what_ended_meanwhile_runs_again,
        what_a_dead_gateway_left_half_done_goes,
        what_cannot_be_taken_over_is_left_alone,
        what_lost_the_folder_that_it_runs_in_gets_another,
        of_those_that_were_stopped_one_is_kept_for_a_function_that_sleeps,
        a_wish_for_fewer_outlives_its_gateway,
        what_cannot_be_written_is_not_taken_for_written,
        a_function_can_be_removed_though_nothing_can_be_written,
        a_shutdown_ends_all_and_the_next_gateway_starts_them_again,
        a_newer_versions_state_is_refused,
        a_confiner_that_nobody_counts_makes_room,
    ]
}

/// The replicas' confiners and all that they started are there once: nothing twice, nothing more.
async fn until_count_of_confiners(backend: &OnProcess, count: usize) {
    soon("as many confiners", async {
        loop {
            let is_confiner = |pid: &i32| {
                let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline"));
                words.is_ok_and(|words| words.split('\0').nth(1) == Some("confine"))
            };
            if backend.processes().iter().filter(|pid| is_confiner(pid)).count() == count {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn what_runs_is_adopted_as_it_is(backend: Arc<OnProcess>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    scale(&*backend, &echo, 2).await;
    let before = watcher.settled(&echo, 2).await;
    let confiners: Vec<_> = before.replicas.iter().map(|r| backend.confiner(&r.id)).collect();
    backend.disconnect();
    assert_eq!(get(&address(&before), "/").await, "v1", "it needs no gateway");

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let found = watcher.settled(&echo, 2).await;
    assert_eq!((&found.function, found.generation), (&before.function, before.generation));
    assert_eq!(found.created_at, before.created_at);
    let ids = |s: &Status| s.replicas.iter().map(|r| r.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&found), ids(&before));
    let adopted: Vec<_> = found.replicas.iter().map(|r| backend.confiner(&r.id)).collect();
    assert_eq!(adopted, confiners);
    assert!(found.replicas.iter().all(|r| r.restarts == 0));
    until_count_of_confiners(&backend, 2).await;

    // It is looked after as before: started again, and ended.
    kill(confiners[0]);
    let back = watcher.until(&echo, |s| s.replicas.iter().any(|r| r.restarts == 1)).await;
    assert_eq!(back.desired, 2);
    watcher.settled(&echo, 2).await;
    until_count_of_confiners(&backend, 2).await;
    backend.process().remove(&echo).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_new_gateway_takes_a_rollout_over(backend: Arc<OnProcess>) {
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
    until_count_of_confiners(&backend, 1).await;
}

async fn a_removal_outlives_its_gateway(backend: Arc<OnProcess>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let call = backend.calls.counter(&status.replicas[0].id).enter().unwrap();
    let process = backend.process();
    let removal = tokio::spawn({
        let echo = echo.clone();
        async move { process.remove(&echo).await }
    });
    watcher.until_gone(&echo).await;
    assert!(!removal.is_finished(), "a call is in flight");
    removal.abort();
    let _aborted = removal.await;
    backend.disconnect();
    assert_eq!(backend.directories().len(), 1);

    // The next gateway knows of no calls.
    let store = backend.store();
    let config = ProcessConfig { calls: Calls::default(), ..backend.config(store) };
    let next: Arc<dyn Provider> = Process::connect(config).await.unwrap();
    assert!(Watcher::new(&next).await.now.is_empty());
    soon("the removal", async {
        while !backend.leftovers().await.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(call);
}

async fn zero_and_frozen_outlive_the_gateway(backend: Arc<OnProcess>) {
    let (cold, frozen) = (name("cold"), name("frozen"));
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("cold", "v1")).await;
    let before = deploy(&*backend, &mut watcher, &backend.good("frozen", "v1")).await;
    scale(&*backend, &cold, 0).await;
    backend.process().scale(&frozen, Target::Frozen).await.unwrap();
    watcher.until(&cold, |s| in_state(s, State::Stopped) == 1).await;
    watcher.until(&frozen, |s| in_state(s, State::Frozen) == 1).await;
    let confiner = backend.confiner(&before.replicas[0].id);
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
    assert_eq!(backend.confiner(&before.replicas[0].id), confiner, "it was thawed, not started");
}

async fn what_ended_meanwhile_runs_again(backend: Arc<OnProcess>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let before = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.disconnect();
    kill(backend.confiner(&before.replicas[0].id));
    until_count_of_confiners(&backend, 0).await;

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let after = watcher.settled(&echo, 1).await;
    assert_eq!(after.replicas[0].id, before.replicas[0].id);
    assert_eq!(get(&address(&after), "/").await, "v1");
    until_count_of_confiners(&backend, 1).await;
}

fn change_record(dir: &Path, change: impl FnOnce(&mut Value)) {
    let path = dir.join("replica.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut record);
    std::fs::write(path, record.to_string()).unwrap();
}

async fn what_a_dead_gateway_left_half_done_goes(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut ids = Vec::new();
    for function in ["echo", "stray", "rests"] {
        let status = deploy(&*backend, &mut watcher, &backend.good(function, "v1")).await;
        ids.push(status.replicas[0].id.clone());
    }
    let generation = watcher.now[&name("echo")].generation;
    backend.disconnect();
    let replicas = backend.state.path().join("replicas");
    // A replica of a newer deploy that was made and never started.
    let newer = replicas.join(format!("{}x", ids[0]));
    std::fs::create_dir_all(newer.join("run")).unwrap();
    std::fs::copy(replicas.join(&ids[0]).join("replica.json"), newer.join("replica.json")).unwrap();
    change_record(&newer, |record| {
        record["wanted"] = json!("nothing");
        record["deploy"]["generation"] = json!(generation + 1);
    });
    // Folders of nobody: one empty, one torn, one in which something runs.
    std::fs::create_dir_all(replicas.join("nobody/run")).unwrap();
    std::fs::create_dir_all(replicas.join("torn")).unwrap();
    std::fs::write(replicas.join("torn/replica.json"), r#"{"schema":1,"#).unwrap();
    std::fs::remove_file(replicas.join(&ids[1]).join("replica.json")).unwrap();
    // One that was told to rest, by a gateway that was killed before it did.
    change_record(&replicas.join(&ids[2]), |record| record["wanted"] = json!("stopped"));

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let found = watcher.until(&name("echo"), Status::is_settled).await;
    assert_eq!(found.generation, generation);
    assert_eq!(get(&address(&found), "/").await, "v1");
    assert!(!watcher.now.contains_key(&name("stray")));
    assert_eq!(watcher.now[&name("rests")].desired, 0);
    soon("the leftovers go", async {
        while backend.directories().len() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_count_of_confiners(&backend, 1).await;
    let kept = backend.state.path().join("unreadable/torn.json");
    assert_eq!(std::fs::read_to_string(kept).unwrap(), r#"{"schema":1,"#);
    scale(&*backend, &name("rests"), 1).await;
    watcher.settled(&name("rests"), 1).await;
}

async fn what_cannot_be_taken_over_is_left_alone(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let held = deploy(&*backend, &mut watcher, &backend.good("held", "v1")).await;
    let held = backend.layout(&held.replicas[0].id);
    backend.disconnect();
    // A lock that is held by who is not known, a record that cannot be read, a file of nobody.
    std::fs::write(held.lock(), "nobody").unwrap();
    let closed = backend.layout("closed").dir.join("replica.json");
    std::fs::create_dir_all(&closed).unwrap();
    let file = backend.layout("file").dir;
    std::fs::write(&file, "").unwrap();

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let found = watcher.settled(&name("echo"), 1).await;
    assert_eq!(get(&address(&found), "/").await, "v1");
    assert!(!watcher.now.contains_key(&name("held")));
    assert!(held.report().exists() && closed.exists() && file.exists());
    until_count_of_confiners(&backend, 2).await;
}

async fn what_lost_the_folder_that_it_runs_in_gets_another(backend: Arc<OnProcess>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let before = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let confiner = backend.confiner(&before.replicas[0].id);
    backend.disconnect();
    std::fs::remove_dir_all(backend.state.path().join("bundles/unpacked")).unwrap();
    let config = backend.config(backend.store());
    backend.connect_with(config).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let after = watcher.settled(&echo, 1).await;
    assert_eq!(get(&address(&after), "/").await, "v1");
    assert_ne!(backend.confiner(&after.replicas[0].id), confiner);
    until_count_of_confiners(&backend, 1).await;
}

async fn of_those_that_were_stopped_one_is_kept_for_a_function_that_sleeps(
    backend: Arc<OnProcess>,
) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut stopped = Vec::new();
    for function in ["sleeps", "shrinks"] {
        deploy(&*backend, &mut watcher, &backend.good(function, "v1")).await;
        scale(&*backend, &name(function), 2).await;
        let status = watcher.settled(&name(function), 2).await;
        stopped.extend(status.replicas.into_iter().map(|replica| replica.id));
    }
    backend.disconnect();
    // As gateways do that are killed between the end of a replica and that of its folder.
    for id in &stopped[..3] {
        change_record(&backend.layout(id).dir, |record| record["wanted"] = json!("stopped"));
    }

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    watcher.until(&name("shrinks"), |s| s.replicas.len() == 1 && s.desired == 1).await;
    watcher.until(&name("sleeps"), |s| s.replicas.len() == 1 && s.desired == 0).await;
    until_count_of_confiners(&backend, 1).await;
    scale(&*backend, &name("sleeps"), 1).await;
    watcher.settled(&name("sleeps"), 1).await;
}

async fn a_wish_for_fewer_outlives_its_gateway(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut calls = Vec::new();
    for function in ["cold", "few", "back"] {
        deploy(&*backend, &mut watcher, &backend.good(function, "v1")).await;
        scale(&*backend, &name(function), 2).await;
        let status = watcher.settled(&name(function), 2).await;
        let busy = status.replicas.iter().map(|r| backend.calls.counter(&r.id).enter().unwrap());
        calls.extend(busy);
    }
    for (function, count) in [("cold", 0), ("few", 1), ("back", 0), ("back", 2)] {
        scale(&*backend, &name(function), count).await;
    }
    backend.disconnect();

    // The next gateway knows of no calls.
    let config = ProcessConfig { calls: Calls::default(), ..backend.config(backend.store()) };
    backend.connect_with(config).await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    for (function, count) in [("cold", 0), ("few", 1), ("back", 2)] {
        let there = count.max(1);
        let so = |s: &Status| s.desired == count && s.replicas.len() == there as usize;
        watcher.until(&name(function), so).await;
    }
    until_count_of_confiners(&backend, 3).await;
    drop(calls);
}

/// Stands in the way of every record of a replica, as a full disk does.
fn block_records(backend: &OnProcess, replica: &str) -> PathBuf {
    let path = backend.layout(replica).dir.join(".new-replica.json");
    std::fs::create_dir(&path).unwrap();
    path
}

async fn what_cannot_be_written_is_not_taken_for_written(backend: Arc<OnProcess>) {
    let echo = name("echo");
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let blocker = block_records(&backend, &status.replicas[0].id);
    // Freezing writes nothing: the kernel knows.
    backend.process().scale(&echo, Target::Frozen).await.unwrap();
    backend.process().scale(&echo, Target::Replicas(0)).await.unwrap_err();
    watcher.until(&echo, |s| s.desired == 0).await;
    // Longer than the first tries take.
    tokio::time::sleep(Duration::from_secs(1)).await;
    std::fs::remove_dir(blocker).unwrap();
    watcher.until(&echo, |s| in_state(s, State::Stopped) == 1).await;
    let record = backend.layout(&status.replicas[0].id).dir.join("replica.json");
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    assert_eq!(record["wanted"], json!("stopped"));
}

async fn a_function_can_be_removed_though_nothing_can_be_written(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    block_records(&backend, &status.replicas[0].id);
    backend.process().remove(&name("echo")).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_shutdown_ends_all_and_the_next_gateway_starts_them_again(backend: Arc<OnProcess>) {
    let (echo, frozen, cold) = (name("echo"), name("frozen"), name("cold"));
    let mut watcher = Watcher::new(&backend.provider()).await;
    for function in ["echo", "frozen", "cold"] {
        deploy(&*backend, &mut watcher, &backend.good(function, "v1")).await;
    }
    backend.process().scale(&frozen, Target::Frozen).await.unwrap();
    scale(&*backend, &cold, 0).await;
    watcher.until(&cold, |s| in_state(s, State::Stopped) == 1).await;
    backend.process().shutdown().await;
    assert_eq!(backend.processes(), Vec::<i32>::new());
    assert_eq!(backend.directories().len(), 3);
    backend.disconnect();

    backend.connect().await;
    let mut watcher = Watcher::new(&backend.provider()).await;
    for function in [&echo, &frozen] {
        let status = watcher.settled(function, 1).await;
        assert_eq!(get(&address(&status), "/").await, "v1");
        let replica = &status.replicas[0];
        assert_eq!((replica.restarts, replica.last_exit.as_str()), (0, ""), "no crash is told");
    }
    assert_eq!(watcher.now[&cold].desired, 0);
    until_count_of_confiners(&backend, 2).await;
}

async fn a_newer_versions_state_is_refused(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let dir = backend.layout(&status.replicas[0].id).dir;
    backend.disconnect();
    change_record(&dir, |record| record["schema"] = json!(2));
    let error = Process::connect(backend.config(backend.store())).await.err().unwrap().to_string();
    assert!(error.contains("newer version"), "{error}");
    assert!(dir.exists(), "nothing is lost");
}

async fn a_confiner_that_nobody_counts_makes_room(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let before = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let replica = &before.replicas[0].id;
    scale(&*backend, &echo, 0).await;
    watcher.until(&echo, |s| in_state(s, State::Stopped) == 1).await;
    // As a gateway does that is killed before it could write down that it did.
    let folder = backend.layout(replica).dir;
    let mut stray = Command::new(watchdog()).arg("confine").arg(folder).spawn().unwrap();
    soon("its lock", async {
        let lock = backend.layout(replica).lock();
        while std::fs::read_to_string(&lock).unwrap().trim() != stray.id().to_string() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    scale(&*backend, &echo, 1).await;
    let after = watcher.settled(&echo, 1).await;
    assert_eq!(get(&address(&after), "/").await, "v1");
    assert!(!stray.wait().unwrap().success());
    until_count_of_confiners(&backend, 1).await;
}
