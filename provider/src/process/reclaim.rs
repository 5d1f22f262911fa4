//! Memory of what is frozen, given back to the machine (control groups of version 2).

use std::fs;
use std::path::{Path, PathBuf};

/// How much is given back at a time: between two steps it may be wanted again.
const STEP_BYTES: u64 = 8 << 20;
/// Where the kernel tells how much swap there is.
const SWAPS: &str = "/proc/swaps";

/// Gives memory of these control groups back while it `may`. Best effort: a kernel that cannot, or
/// a machine that has nowhere to put it, keeps it. Without swap only what files have in memory
/// could go, which the kernel takes by itself when it needs it, and a thaw would have to read.
pub(super) fn give_back(cgroups: &[PathBuf], may: impl Fn() -> bool) {
    give_back_to(Path::new(SWAPS), cgroups, may);
}

fn give_back_to(swaps: &Path, cgroups: &[PathBuf], may: impl Fn() -> bool) {
    let switch = cgroups.iter().map(|dir| dir.join("memory.reclaim")).find(|file| file.exists());
    if let Some(switch) = switch.filter(|_| has_swap(swaps)) {
        let steps = step_by_step(&switch, may);
        tracing::debug!(switch = %switch.display(), steps, "gave memory back");
    }
}

/// A line of titles, then one for each.
fn has_swap(swaps: &Path) -> bool {
    fs::read_to_string(swaps).is_ok_and(|text| text.lines().count() > 1)
}

/// Returns how many steps the kernel could make: it refuses one that it cannot make whole.
fn step_by_step(switch: &Path, may: impl Fn() -> bool) -> usize {
    let current = switch.with_file_name("memory.current");
    let used = || fs::read_to_string(&current).ok()?.trim().parse::<u64>().ok();
    let most = used().unwrap_or(0) / STEP_BYTES;
    let step = |_: &u64| may() && fs::write(switch, STEP_BYTES.to_string()).is_ok();
    (0..most).take_while(step).count()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn memory_goes_step_by_step_and_no_further_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let switch = dir.path().join("memory.reclaim");
        assert_eq!(step_by_step(&switch, || true), 0, "nothing is known to be used");
        fs::write(dir.path().join("memory.current"), format!("{}\n", 5 * STEP_BYTES)).unwrap();
        assert_eq!(step_by_step(&switch, || true), 5);
        assert_eq!(fs::read_to_string(&switch).unwrap(), STEP_BYTES.to_string());
        let left = Cell::new(2);
        let may = || left.replace(left.get() - 1) > 0;
        assert_eq!(step_by_step(&switch, may), 2);
        assert_eq!(step_by_step(&dir.path().join("none/memory.reclaim"), || true), 0);
        give_back(&[dir.path().join("none")], || true);
    }

    #[test]
    fn it_goes_from_the_group_that_can_and_only_where_there_is_swap() {
        let dir = tempfile::tempdir().unwrap();
        let (freezer, unified) = (dir.path().join("freezer"), dir.path().join("unified"));
        fs::create_dir_all(&freezer).unwrap();
        fs::create_dir_all(&unified).unwrap();
        let (swaps, switch) = (dir.path().join("swaps"), unified.join("memory.reclaim"));
        fs::write(&swaps, "Filename Type Size\n").unwrap();
        fs::write(&switch, "").unwrap();
        fs::write(unified.join("memory.current"), (STEP_BYTES * 3).to_string()).unwrap();
        let groups = [freezer.clone(), unified];
        give_back_to(&swaps, &groups, || true);
        assert_eq!(fs::read_to_string(&switch).unwrap(), "", "there is nowhere to put it");
        fs::write(&swaps, "Filename Type Size\n/swapfile file 8\n").unwrap();
        give_back_to(&swaps, &groups, || true);
        assert_eq!(fs::read_to_string(&switch).unwrap(), STEP_BYTES.to_string());
        assert!(!freezer.join("memory.reclaim").exists());
    }

    #[test]
    fn swap_is_there_when_there_is_a_line_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let swaps = dir.path().join("swaps");
        assert!(!has_swap(&swaps));
        fs::write(&swaps, "Filename Type Size\n").unwrap();
        assert!(!has_swap(&swaps));
        fs::write(&swaps, "Filename Type Size\n/dev/zram0 partition 8\n").unwrap();
        assert!(has_swap(&swaps));
    }
}
