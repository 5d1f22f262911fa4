//! Memory, processes, files and processor time.

use provider::confine::Limits;

use crate::Case;
use crate::replica::{Replica, assert_has};
use crate::setting::Setting;

pub(crate) const CASES: &[Case] = &[
    ("bounds a fork bomb", bounds_a_fork_bomb),
    ("bounds a memory hog", bounds_a_memory_hog),
    ("bounds open files and core dumps", bounds_files),
    ("reports what is enforced", reports),
];

/// Forks until it may not, and says how often it could.
const BOMB: &str = "perl -e '$n = 0; while (1) { $p = fork(); last if !defined $p; \
                    if (!$p) { sleep 1000; exit } push @p, $p; $n++; last if $n > 2000 } \
                    print \"forked $n\\n\"; kill 9, @p; waitpid($_, 0) for @p'";

/// Takes 400 MiB, a MiB at a time, and says so.
const HOG: &str =
    "perl -e 'for (1..400) { push @m, \"x\" x (1 << 20) } print \"took \", scalar @m, \"\\n\"'";

fn bounds_a_fork_bomb(setting: Setting) {
    let mut replica = Replica::start(setting);
    let limited =
        !replica.report().gaps.iter().any(|gap| gap.reason.contains("nothing bounds it; no"));
    assert!(limited);
    let text = replica.run(BOMB);
    let count = text.trim().strip_prefix("forked ").and_then(|count| count.parse::<u64>().ok());
    // The watchdog, the shell and the bomb itself count too. Where others of the same user count,
    // there may be some that end meanwhile.
    let slack = if setting.has_namespaces() { 0 } else { 40 };
    let most = 48 + slack;
    assert!(count.is_some_and(|count| count >= 20 && count <= most), "{text}");
    // Neither it nor another one is any worse for it.
    assert_eq!(replica.run("echo serves"), "serves\n");
    assert_eq!(Replica::start(setting).run("echo serves"), "serves\n");
    assert_eq!(replica.stop().code, Some(0));
}

fn bounds_a_memory_hog(setting: Setting) {
    let other = Replica::start(setting);
    let mut replica = Replica::start(setting);
    let text = replica.run(HOG);
    assert!(!text.contains("took"), "{text}");
    assert_eq!(other.run("echo serves"), "serves\n");
    let held_by_group = !replica.report().gaps.iter().any(|gap| gap.measure == "memory limit");
    let exit = replica.stop();
    assert_eq!(exit.out_of_memory, held_by_group, "{exit:?}");
    assert!(held_by_group || text.contains("Out of memory"), "{text}");
    // With more of it, the same is fine.
    let enough = Replica::start_with(setting, |spec, _| spec.limits.memory = Some(1 << 30));
    assert_has(&enough.run(HOG), &["took 400"]);
}

fn bounds_files(setting: Setting) {
    let replica = Replica::start(setting);
    assert_eq!(replica.run("ulimit -Hc; ulimit -Sc; ulimit -Hn; ulimit -Sn"), "0\n0\n200\n200\n");
    let text = replica.run(
        "perl -e 'while (open my $f, \"<\", \"/dev/null\") { push @f, $f } print scalar @f, \" $!\\n\"'
         ulimit -n 300 && echo RAISED; ulimit -c unlimited && echo RAISED",
    );
    assert!(!text.contains("RAISED"), "{text}");
    let count = text.split(' ').next().and_then(|count| count.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count > 150 && count < 200), "{text}");
    let dumped = replica.run("cd $TMPDIR; perl -e 'kill 11, $$'; ls | grep -c core");
    assert_eq!(dumped.lines().last(), Some("0"), "{dumped}");
}

fn reports(setting: Setting) {
    let replica = Replica::start(setting);
    let report = replica.report();
    let stat = std::fs::read_to_string(format!("/proc/{}/comm", report.pid)).expect("it runs");
    assert_eq!(stat, "fwatchdog\n");
    assert!(report.cgroups.iter().all(|dir| dir.is_dir()), "{report:?}");
    let measures: Vec<_> = report.gaps.iter().map(|gap| gap.measure.as_str()).collect();
    assert!(report.gaps.iter().all(|gap| !gap.reason.is_empty()));
    let namespaces = measures.contains(&"namespaces (user, mount, pid, ipc)");
    assert_eq!(namespaces, !setting.has_namespaces(), "{measures:?}");
    // What is not asked for cannot be missing.
    let free = Replica::start_with(setting, |spec, _| spec.limits = Limits::default());
    let gaps = free.report().gaps;
    assert!(!gaps.iter().any(|gap| gap.measure.contains("limit")), "{gaps:?}");
}
