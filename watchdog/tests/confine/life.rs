//! From the start of a confiner to the end of everything that it has started.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use jiff::Timestamp;
use rustix::process::Signal;

use crate::Case;
use crate::replica::{Replica, assert_has, wait_for};
use crate::setting::{self, Setting};

pub(crate) const CASES: &[Case] = &[
    ("ends in order and leaves nothing", ends_in_order),
    ("leaves nothing when it is killed", leaves_nothing_when_killed),
    ("ends at once when told so", ends_at_once),
    ("tells how the watchdog ended", tells_how_it_ended),
    ("lets calls in flight end", lets_calls_end),
    ("logs line by line", logs),
    ("is only one for a folder", is_only_one),
    ("takes the place of one that was killed", takes_the_place),
    ("outlives who has started it", outlives),
    ("ends although it is frozen", ends_although_frozen),
];

/// A process that has left its parent, its session and its group, by an argument that no other
/// has; it is waited for until it runs.
fn stray(replica: &Replica) -> String {
    let name = replica.state.path("").file_name().expect("a name").to_string_lossy().into_owned();
    let argument = format!("stray-{name}");
    replica.run(&format!(
        "(setsid perl -e '$0 = \"{argument}\"; $SIG{{TERM}} = \"IGNORE\"; fork; sleep 1000' \
         </dev/null >/dev/null 2>&1 &)"
    ));
    wait_for("the stray process", || (count(&argument) == 2).then_some(()));
    argument
}

/// How many processes of the machine have this as their command.
fn count(command: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("processes").filter_map(|entry| {
        let line = fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&line).starts_with(command).then_some(())
    });
    processes.count()
}

fn ends_in_order(setting: Setting) {
    let mut replica = Replica::start(setting);
    let cgroups = replica.report().cgroups;
    let stray = stray(&replica);
    let exit = replica.stop();
    assert_eq!((exit.code, exit.signal, exit.error.as_str()), (Some(0), None, ""));
    assert_eq!(count(&stray), 0);
    assert!(cgroups.iter().all(|dir| !dir.exists()), "{cgroups:?}");
    assert!(!replica.layout.socket().exists());
    assert_has(&replica.log(), &["SIGTERM"]);
}

fn leaves_nothing_when_killed(setting: Setting) {
    let mut replica = Replica::start(setting);
    let stray = stray(&replica);
    replica.signal(Signal::KILL);
    assert_eq!(replica.wait().signal(), Some(9));
    wait_for("the end of all processes", || (count(&stray) == 0).then_some(()));
    wait_for("the end of the watchdog", || {
        let pid = replica.report().pid;
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        (comm != "fwatchdog\n").then_some(())
    });
    // Nobody is in its groups any more; there was nobody left to remove them.
    for dir in replica.report().cgroups {
        wait_for("an empty group", || fs::remove_dir(&dir).ok());
        let _ = fs::remove_dir(dir.parent().expect("a parent"));
    }
}

fn ends_at_once(setting: Setting) {
    let mut replica = Replica::start(setting);
    let stray = stray(&replica);
    replica.signal(Signal::QUIT);
    let exit = replica.exit();
    assert_eq!((exit.code, exit.signal, exit.error.as_str()), (None, Some(9), ""));
    assert_eq!(count(&stray), 0);
}

fn tells_how_it_ended(setting: Setting) {
    let mut replica = Replica::launch(setting, |spec, _| spec.environment.clear());
    let exit = replica.exit();
    assert_eq!((exit.code, exit.signal, exit.error.as_str()), (Some(1), None, ""));
    assert_has(&replica.log(), &["fprocess"]);
    // A signal right at the start is not lost either.
    let mut replica = Replica::launch(setting, |_, _| ());
    wait_for("the report", || replica.layout.report().exists().then_some(()));
    replica.signal(Signal::TERM);
    let exit = replica.exit();
    assert!(exit.code == Some(0) || exit.signal.is_some(), "{exit:?}");
}

fn lets_calls_end(setting: Setting) {
    let mut replica = Replica::start(setting);
    let started = replica.layout.tmp().join("started");
    let text = std::thread::scope(|scope| {
        let call = scope.spawn(|| replica.run("touch $TMPDIR/started; sleep 0.3; echo whole"));
        wait_for("the call", || started.exists().then_some(()));
        replica.signal(Signal::TERM);
        call.join().expect("an answer")
    });
    assert_eq!(text, "whole\n");
    assert_eq!(replica.exit().code, Some(0));
}

fn logs(setting: Setting) {
    let mut replica = Replica::start_with(setting, |spec, _| spec.log_bytes = 64 << 10);
    replica.run("exec 2>/proc/$PPID/fd/2; for i in $(seq 3); do echo line $i >&2; done");
    // Its stderr is the watchdog's to pass on; what it prints there itself is logged as well.
    let whole = |log: &String| log.contains("Listening on socket");
    let log = wait_for("the watchdog's line", || Some(replica.log()).filter(whole));
    for line in log.lines() {
        let (time, _) = line.split_once(' ').expect("a time");
        time.parse::<Timestamp>().expect("a time");
    }
    replica.run("exec 2>$TMPDIR/none; exit 0");
    for _ in 0..20 {
        replica.run("true");
    }
    replica.stop();
    let size = fs::metadata(replica.layout.log()).expect("a log").len();
    assert!(size > 0 && size <= 64 << 10, "{size}");
}

fn is_only_one(setting: Setting) {
    let replica = Replica::start(setting);
    let mut second = setting.command(&setting::program());
    let output = second.arg("confine").arg(&replica.layout.dir).output().expect("a confiner");
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let pid = replica.confiner().as_raw_nonzero().to_string();
    assert_has(&words, &["this replica runs already", &pid]);
    assert!(!replica.layout.exit().exists());
    assert_eq!(replica.run("echo serves"), "serves\n");
}

fn takes_the_place(setting: Setting) {
    let mut replica = Replica::start(setting);
    let stray = stray(&replica);
    replica.signal(Signal::KILL);
    replica.start_again();
    wait_for("the end of what was before", || (count(&stray) == 0).then_some(()));
    assert_eq!(replica.run("echo serves"), "serves\n");
    let cgroups = replica.report().cgroups;
    replica.stop();
    assert!(cgroups.iter().all(|dir| !dir.exists()), "{cgroups:?}");
}

fn outlives(setting: Setting) {
    let mut replica = Replica::start(setting);
    replica.signal(Signal::HUP);
    assert_eq!(replica.run("echo serves"), "serves\n");
    let confiner = replica.confiner();
    let session = rustix::process::getsid(Some(confiner)).expect("it runs");
    assert_eq!(session, confiner);
    let stdin = fs::read_link(format!("/proc/{}/fd/0", confiner.as_raw_nonzero()));
    assert_eq!(stdin.expect("it runs").to_str(), Some("/dev/null"));
    assert_eq!(replica.stop().code, Some(0));
}

fn ends_although_frozen(setting: Setting) {
    let mut replica = Replica::start(setting);
    for dir in replica.report().cgroups {
        let states = [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")];
        for (file, state) in states.iter().filter(|(file, _)| dir.join(file).exists()) {
            fs::write(dir.join(file), state).expect("our group");
        }
    }
    assert_eq!(replica.stop().code, Some(0));
}
