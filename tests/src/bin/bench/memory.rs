//! What everything needs while nothing is asked of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::project::{FUNCTIONS, Project};

/// Time to come to rest after the last call.
const REST: Duration = Duration::from_secs(3);

pub(crate) fn run(project: &Project) -> Result<()> {
    for (name, _) in FUNCTIONS {
        project.first_byte(name)?;
    }
    std::thread::sleep(REST);
    let gateway = project.gateway.pid().context("the gateway does not run")?;
    println!("Idle memory: RSS, and PSS (each shared page divided by its users)\n");
    println!("| process | of | RSS KiB | PSS KiB |");
    println!("|---|---|---|---|");
    print(gateway, "gateway");
    let children = children()?;
    for (name, template) in FUNCTIONS {
        let mut todo: Vec<u32> = children.get(&gateway).cloned().unwrap_or_default();
        todo.retain(|pid| command(*pid).contains(&format!("{name}.")));
        while let Some(pid) = todo.pop() {
            print(pid, &format!("{name} ({template})"));
            todo.extend(children.get(&pid).into_iter().flatten());
        }
    }
    println!();
    Ok(())
}

fn print(pid: u32, owner: &str) {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let kib = |key: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next()).unwrap_or("?").to_owned()
    };
    println!("| {} | {owner} | {} | {} |", name.trim(), kib("Rss:"), kib("Pss:"));
}

fn command(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ")
}

/// Every process by its parent.
pub(crate) fn children() -> Result<BTreeMap<u32, Vec<u32>>> {
    let mut all: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in brackets may hold spaces and brackets: what follows counts from its end.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = rest.split_whitespace().nth(1).and_then(|text| text.parse().ok()) {
            all.entry(parent).or_default().push(pid);
        }
    }
    Ok(all)
}
