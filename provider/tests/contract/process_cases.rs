//! What only local processes can do wrong.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use provider::bundle::sample::{self, Archive};
use provider::bundle::{Config, Program};
use provider::process::{Process, ProcessConfig};
use provider::{
    Error, Function, LogQuery, Provider, Resources, Secret, State, Status, Target, annotation,
};

use crate::engine::get;
use crate::on_process::{OnProcess, SpecialCase, fixture_config, kill};
use crate::spares::what_is_made_beforehand_is_started_when_it_is_wanted;
use crate::support::{Backend, Watcher, address, deploy, in_state, name, scale, soon};

pub(crate) fn all() -> Vec<(&'static str, SpecialCase)> {
    macro_rules! list {
        ($($case:ident),* $(,)?) => {
            vec![$((stringify!($case), (|backend| Box::pin($case(backend))) as SpecialCase)),*]
        };
    }
    list![
        a_crash_loop_keeps_the_old_serving_and_says_why,
        a_crash_is_seen_and_the_replica_comes_back,
        a_killed_confiner_leaves_nothing_running,
        out_of_memory_is_named,
        a_process_that_is_not_there_is_named,
        what_never_listens_is_named,
        logs_follow_a_replica_through_its_restart,
        what_cannot_be_deployed_is_named_and_leaves_nothing,
        programs_from_elsewhere_are_found_in_the_sandbox,
        a_sandbox_that_cannot_be_made_fails_the_deploy,
        gaps_are_told_unless_there_must_be_none,
        a_required_sandbox_is_whole_or_refused,
        every_function_is_fenced_in,
        a_function_without_a_network_has_none_and_is_called,
        a_removal_takes_everything_along,
        what_is_frozen_gets_no_processor,
        two_gateways_do_not_disturb_each_other,
        what_is_made_beforehand_is_started_when_it_is_wanted,
    ]
}

async fn a_crash_loop_keeps_the_old_serving_and_says_why(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let old = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.process().apply(&backend.mode("echo", "crash")).await.unwrap();
    let stuck = watcher.until(&echo, |s| s.reason.contains("restarted 2 times")).await;
    assert!(stuck.reason.contains("exit code 1"), "{}", stuck.reason);
    // The watchdog says how the process in it ended.
    let told = watcher.until(&echo, |s| s.reason.contains("exit status 3")).await;
    assert!(told.reason.starts_with(&format!("generation {}", told.generation)));
    assert_eq!(in_state(&told, State::Starting), 1);
    let serving: Vec<_> = told.ready().map(|r| r.generation).collect();
    assert_eq!(serving, [old.generation]);
    assert_eq!(get(&address(&told), "/").await, "v1");

    // The old one bears the load, and a good version mends everything.
    scale(&*backend, &echo, 2).await;
    watcher.until(&echo, |s| s.ready().count() == 2).await;
    let new = deploy(&*backend, &mut watcher, &backend.good("echo", "v3")).await;
    assert_eq!((get(&address(&new), "/").await.as_str(), new.reason.as_str()), ("v3", ""));
    watcher.until(&echo, |s| s.replicas.len() == 2).await;
}

async fn a_crash_is_seen_and_the_replica_comes_back(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    get(&address(&status), "/exit").await;
    let down = watcher.until(&echo, |s| s.ready().count() == 0).await;
    assert_eq!(down.desired, 1);
    let back = watcher.until(&echo, |s| s.ready().any(|r| r.restarts == 1)).await;
    assert_eq!(back.replicas[0].last_exit, "exit code 1");
    assert_eq!(get(&address(&back), "/").await, "v1");
    assert_eq!(back.reason, "");
}

async fn a_killed_confiner_leaves_nothing_running(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let before = backend.processes();
    kill(backend.confiner(&status.replicas[0].id));
    let back = watcher.until(&echo, |s| s.ready().any(|r| r.restarts == 1)).await;
    assert_eq!(back.replicas[0].last_exit, "killed by signal 9");
    let after = backend.processes();
    assert!(!before.iter().any(|pid| after.contains(pid)), "{before:?} {after:?}");
    assert_eq!(get(&address(&back), "/").await, "v1");
}

async fn out_of_memory_is_named(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut hog = backend.mode("hog", "hog");
    hog.limits = Some(Resources { memory: Some("64Mi".to_owned()), ..Resources::default() });
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.process().apply(&hog).await.unwrap();
    let told = |s: &Status| !s.reason.is_empty() && s.replicas[0].restarts > 0;
    let status = watcher.until(&name("hog"), told).await;
    // Without a control group it is the process's own limit that it meets.
    let bounded = status.warnings.iter().all(|text| !text.contains("memory limit"));
    assert!(!bounded || status.replicas[0].last_exit == "out of memory", "{status:?}");
    assert_eq!(get(&address(&watcher.now[&name("echo")]), "/").await, "v1", "others serve on");
}

async fn a_process_that_is_not_there_is_named(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let mut broken = backend.good("echo", "v1");
    broken.env_process = "./not-there".to_owned();
    backend.process().apply(&broken).await.unwrap();
    watcher.until(&name("echo"), |s| s.reason.contains("not-there")).await;
}

async fn what_never_listens_is_named(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    backend.process().apply(&backend.mode("echo", "deaf")).await.unwrap();
    let status = watcher.until(&name("echo"), |s| s.reason.contains("never listened")).await;
    assert_eq!(status.ready().count(), 1);
    backend.process().remove(&name("echo")).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn logs_follow_a_replica_through_its_restart(backend: Arc<OnProcess>) {
    use futures_util::StreamExt;
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let query =
        LogQuery { name: echo.clone(), instance: None, tail: None, follow: true, since: None };
    let mut lines = backend.process().logs(query).await.unwrap();
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
    backend.process().remove(&echo).await.unwrap();
    soon("the end of the logs", async { while lines.next().await.is_some() {} }).await;
}

async fn what_cannot_be_deployed_is_named_and_leaves_nothing(backend: Arc<OnProcess>) {
    let good = || backend.good("echo", "v1");
    let absent = sample::digest(b"nobody put this");
    let program = Program { name: "no-such-tool".to_owned(), install: "Tool 2".to_owned() };
    let config = Config { programs: vec![program], ..fixture_config() };
    let needy = Archive::default().config(&config).build();
    sample::put(&backend.store(), &needy).unwrap();
    let gpu = Resources { nvidia_gpu: Some("1".to_owned()), ..Resources::default() };
    let bad = [
        ("image", "faas up", Function { image: "ghcr.io/a/echo:1".to_owned(), ..good() }),
        (
            "image",
            &absent.to_string(),
            Function { image: format!("bundle:echo@{absent}"), ..good() },
        ),
        ("image", "no-such-tool", Function { image: OnProcess::image(&needy), ..good() }),
        ("image", "install Tool 2", Function { image: OnProcess::image(&needy), ..good() }),
        ("image", "fixture", Function { image: OnProcess::image(&needy), ..good() }),
        ("limits.nvidia.com/gpu", "devices", Function { limits: Some(gpu), ..good() }),
        (
            "constraints",
            "windows",
            Function { constraints: vec!["node.platform.os=windows".to_owned()], ..good() },
        ),
    ];
    for (field, words, function) in bad {
        match backend.process().apply(&function).await {
            Err(Error::Invalid { field: named, reason }) => {
                assert_eq!(named, field);
                assert!(reason.contains(words), "{reason}");
            }
            other => panic!("{field}: {other:?}"),
        }
    }
    assert!(Watcher::new(&backend.provider()).await.now.is_empty());
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
    let fits = vec!["node.platform.os=linux".to_owned()];
    let mut watcher = Watcher::new(&backend.provider()).await;
    deploy(&*backend, &mut watcher, &Function { constraints: fits, ..good() }).await;
}

/// Where this machine's Python and Node come from a version manager, this is about what it takes.
async fn programs_from_elsewhere_are_found_in_the_sandbox(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let questions = [
        ("python3", "python3 -c 'import json, ssl, sys; print(sys.prefix)'"),
        ("node", "node -p 'require(\"os\").EOL + process.execPath'"),
    ];
    for (name, fprocess) in questions {
        let program = Program { name: name.to_owned(), ..Program::default() };
        let config =
            Config { programs: vec![program], ..sample::config(&[("fprocess", fprocess)]) };
        let archive = Archive::default().config(&config).build();
        sample::put(&backend.store(), &archive).unwrap();
        let function = Function { image: OnProcess::image(&archive), ..backend.good(name, "v1") };
        match backend.process().apply(&function).await {
            Err(Error::Invalid { reason, .. }) if reason.contains("not on this machine's PATH") => {
                eprintln!("*** not tested with {name}, which is not installed ***");
                continue;
            }
            applied => applied.unwrap(),
        };
        let status = watcher.settled(&function.name().unwrap(), 1).await;
        let answer = get(&address(&status), "/").await;
        // In chunks, whose sizes are lines of their own.
        let place = answer.lines().find(|line| line.starts_with('/'));
        assert!(place.is_some_and(|place| Path::new(place).exists()), "{name}: {answer}");
    }
}

/// A stand-in for `fwatchdog` that does as the script says, in the replica's folder. Another process
/// writes it: what we have open for writing can be run by nobody.
fn stand_in(backend: &OnProcess, script: &str) -> PathBuf {
    let path = backend.state.path().join("stand-in");
    let text = format!("#!/bin/sh\ncd \"$2\" || exit 1\n{script}");
    let write = r#"printf '%s\n' "$1" >"$2" && chmod 755 "$2""#;
    let mut shell = std::process::Command::new("sh");
    assert!(shell.args(["-c", write, "sh", &text]).arg(&path).status().unwrap().success());
    path
}

async fn a_sandbox_that_cannot_be_made_fails_the_deploy(backend: Arc<OnProcess>) {
    backend.disconnect();
    let script = "echo 'no namespaces for anybody' >&2; exit 1";
    let watchdog = stand_in(&backend, script);
    let config = ProcessConfig { watchdog, ..backend.config(backend.store()) };
    backend.connect_with(config).await;
    let error = backend.process().apply(&backend.good("echo", "v1")).await.unwrap_err();
    assert!(error.to_string().contains("no namespaces for anybody"), "{error}");
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
    backend.process().health().await.unwrap();
    std::fs::remove_file(backend.state.path().join("stand-in")).unwrap();
    let error = backend.process().health().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

async fn gaps_are_told_unless_there_must_be_none(backend: Arc<OnProcess>) {
    backend.disconnect();
    let script = r#"exec 9>lock; flock 9; echo $$ >&9
        echo '{"gaps":[{"measure":"memory limit","reason":"no cgroup"}]}' >.r && mv .r report.json
        if grep -q '"required":true' spec.json; then
            echo '{"error":"memory limit: no cgroup","at":"2026-01-02T03:04:05Z","out_of_memory":false}' >.e
            mv .e exit.json; exit 1
        fi
        exec sleep 1000"#;
    let watchdog = stand_in(&backend, script);
    let config = ProcessConfig { watchdog, ..backend.config(backend.store()) };
    backend.connect_with(config).await;
    let required = (annotation::SANDBOX.to_owned(), "required".to_owned());
    let strict = Function { annotations: [required].into(), ..backend.good("echo", "v1") };
    match backend.process().apply(&strict).await {
        Err(Error::Invalid { field, reason }) => {
            assert_eq!(
                (field.as_str(), reason.as_str()),
                (annotation::SANDBOX, "memory limit: no cgroup")
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(Watcher::new(&backend.provider()).await.now.is_empty());
    assert_eq!(backend.leftovers().await, Vec::<String>::new());

    let status = backend.process().apply(&backend.good("echo", "v1")).await.unwrap();
    assert_eq!(status.warnings, ["sandbox: memory limit: no cgroup"]);
    backend.process().remove(&name("echo")).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn a_required_sandbox_is_whole_or_refused(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let required = (annotation::SANDBOX.to_owned(), "required".to_owned());
    let strict = Function {
        annotations: [required].into(),
        limits: Some(Resources { memory: Some("256Mi".to_owned()), ..Resources::default() }),
        ..backend.good("echo", "v1")
    };
    match backend.process().apply(&strict).await {
        Ok(_) => {
            let status = watcher.settled(&name("echo"), 1).await;
            assert_eq!(status.warnings, Vec::<String>::new());
        }
        Err(Error::Invalid { field, reason }) => {
            assert_eq!(field, annotation::SANDBOX);
            assert!(reason.contains("required"), "{reason}");
            assert_eq!(backend.leftovers().await, Vec::<String>::new());
        }
        Err(other) => panic!("{other}"),
    }
}

async fn every_function_is_fenced_in(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let secret =
        Secret { name: "key".to_owned(), value: Some("hunter2".to_owned()), ..Secret::default() };
    backend.process().secrets().create(&secret).await.unwrap();
    let mut function = backend.good("echo", "v1");
    function.secrets = vec!["key".to_owned()];
    let status = deploy(&*backend, &mut watcher, &function).await;
    let other = deploy(&*backend, &mut watcher, &backend.good("other", "v1")).await;
    let at = address(&status);

    assert_eq!(get(&at, "/read/var/openfaas/secrets/key").await, "hunter2");
    assert_ne!(get(&at, "/write/var/openfaas/secrets/key").await, "written");
    assert_eq!(get(&at, "/write/tmp/x").await, "written");
    for place in ["/x", "/home/app/x", "/usr/x", "/etc/x"] {
        assert_ne!(get(&at, &format!("/write{place}")).await, "written", "{place}");
    }
    // The gateway's secrets, and another function's copy of one.
    for file in [
        backend.state.path().join("secrets/openfaas-fn/key"),
        backend.layout(&status.replicas[0].id).secrets().join("key"),
    ] {
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "hunter2");
        let read = get(&address(&other), &format!("/read{}", file.display())).await;
        assert_ne!(read, "hunter2", "{}", file.display());
    }
    let process = get(&at, "/read/proc/self/status").await;
    assert!(process.contains("CapEff:\t0000000000000000"), "{process}");
    assert!(process.contains("NoNewPrivs:\t1"), "{process}");
    let hosts = get(&at, "/read/etc/hosts").await;
    assert!(hosts.contains("gateway.openfaas"), "{hosts}");
    let limits = get(&at, "/read/proc/self/limits").await;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let most: u64 = files.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert!(most <= 65536, "{files}");
    // Users of their own, where they can be given.
    let user = |text: &str| text.lines().find(|l| l.starts_with("Uid:")).unwrap().to_owned();
    let others = get(&address(&other), "/read/proc/self/status").await;
    if rustix::process::geteuid().is_root() {
        assert_ne!(user(&process), user(&others));
    }
}

async fn a_function_without_a_network_has_none_and_is_called(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let none = (annotation::NETWORK.to_owned(), "none".to_owned());
    let lonely = Function { annotations: [none].into(), ..backend.good("lonely", "v1") };
    let status = deploy(&*backend, &mut watcher, &lonely).await;
    let devices = get(&address(&status), "/read/proc/net/dev").await;
    let names: Vec<_> = devices.lines().filter_map(|line| line.split_once(':')).collect();
    assert!(names.iter().all(|(name, _)| name.trim() == "lo"), "{devices}");
    assert_eq!(get(&address(&status), "/").await, "v1");
}

async fn a_removal_takes_everything_along(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let replica = &status.replicas[0].id;
    let cgroups = backend.report(replica).cgroups;
    assert!(cgroups.iter().all(|dir| dir.exists()), "{cgroups:?}");
    // A folder that the function locked itself out of.
    let locked = backend.layout(replica).tmp().join("locked");
    std::fs::create_dir_all(locked.join("deep")).unwrap();
    std::fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    backend.process().remove(&name("echo")).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
    assert!(!cgroups.iter().any(|dir| dir.exists()), "{cgroups:?}");
}

async fn what_is_frozen_gets_no_processor(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let echo = name("echo");
    let status = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let at = address(&status);
    backend.process().scale(&echo, Target::Frozen).await.unwrap();
    watcher.until(&echo, |s| in_state(s, State::Frozen) == 1).await;
    let call = tokio::spawn(async move { get(&at, "/").await });
    // Its socket takes the call, and nobody answers until it is thawed.
    let at = backend.layout(&status.replicas[0].id).socket();
    soon("a call that waits", async {
        while tokio::net::UnixStream::connect(&at).await.is_err() {}
    })
    .await;
    assert!(!call.is_finished());
    scale(&*backend, &echo, 1).await;
    assert_eq!(soon("the answer", call).await.unwrap(), "v1");
    // It ends by itself though it is frozen: no grace has to pass.
    backend.process().scale(&echo, Target::Frozen).await.unwrap();
    backend.process().remove(&echo).await.unwrap();
    assert_eq!(backend.leftovers().await, Vec::<String>::new());
}

async fn two_gateways_do_not_disturb_each_other(backend: Arc<OnProcess>) {
    let mut watcher = Watcher::new(&backend.provider()).await;
    let ours = deploy(&*backend, &mut watcher, &backend.good("echo", "v1")).await;
    let state = tempfile::tempdir().unwrap();
    let store = provider::bundle::Store::open(state.path(), Default::default()).unwrap();
    let digest = backend.good("echo", "v1").image;
    let digest = digest.rsplit_once('@').unwrap().1.parse().unwrap();
    let (mut archive, _) = backend.store().archive(digest).unwrap().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut archive, &mut bytes).unwrap();
    sample::put(&store, &bytes).unwrap();
    let config = ProcessConfig { state_dir: state.path().to_owned(), ..backend.config(store) };
    let other = Process::connect(config).await.unwrap();
    let there: Arc<dyn Provider> = other.clone();
    let mut watching = Watcher::new(&there).await;
    assert!(watching.now.is_empty());
    there.apply(&backend.good("echo", "v2")).await.unwrap();
    let theirs = watching.settled(&name("echo"), 1).await;
    assert_eq!(get(&address(&theirs), "/").await, "v2");
    other.shutdown().await;
    assert_eq!(watcher.now[&name("echo")], ours);
    assert_eq!(get(&address(&ours), "/").await, "v1");
}
