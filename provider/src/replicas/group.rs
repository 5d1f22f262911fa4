//! The containers of one function, and what is decided about them. No IO.

use std::collections::BTreeMap;

use tokio::task::AbortHandle;

use super::seen::{Phase, Seen};
use crate::Address;
use crate::words::{KILLED, OUT_OF_MEMORY};

/// All containers of one function, by replica id.
#[derive(Default)]
pub(super) struct Group {
    pub(super) members: BTreeMap<String, Member>,
    /// Why the last deploy was not taken; the deploy before it serves on.
    pub(super) failure: String,
    /// Whether a task makes spare containers, or waits to try again.
    pub(super) stocking: bool,
}

/// One container and what we know and want of it.
pub(super) struct Member {
    pub(super) seen: Seen,
    pub(super) stage: Stage,
    /// Where it answers, while it does.
    pub(super) address: Option<Address>,
    /// Whether it has answered on its socket: then our watchdog is in it, and no other way counts.
    pub(super) has_socket: bool,
    /// How it ended the last time.
    pub(super) last_exit: String,
    /// The last lines that it wrote before that.
    pub(super) last_words: String,
    /// What is wrong while it runs.
    pub(super) trouble: String,
    /// Whether the kernel killed something in it for want of memory since it was started.
    pub(super) out_of_memory: bool,
    /// Whether it is being frozen: it takes no calls any more, and those that come thaw it.
    pub(super) freezing: bool,
    /// How often we froze or thawed it: a look that began before shows what was.
    pub(super) turns: u64,
    /// How many spare containers its deploy wants beside it.
    prepared: usize,
    /// The task that looks whether it answers.
    pub(super) attendant: Option<AbortHandle>,
    /// The task that drains it.
    pub(super) drain: Option<AbortHandle>,
}

/// What is wanted of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// To serve, or to be there for it.
    Active,
    /// To be there when one more is wanted: it was never started, and is no replica yet.
    Spare,
    /// To finish its calls, stop and be kept: it holds the function while that sleeps.
    Resting,
    /// To finish its calls, stop and be removed.
    Leaving,
    /// It is being stopped; there is no way back.
    Stopping {
        /// Whether it is kept.
        keep: bool,
    },
}

impl Member {
    fn new(seen: Seen) -> Self {
        Self {
            stage: if seen.removed { Stage::Leaving } else { Stage::Active },
            last_exit: seen.last_exit.clone(),
            prepared: seen.deploy.function.scale().map_or(0, |scale| scale.prepared as usize),
            seen,
            address: None,
            has_socket: false,
            last_words: String::new(),
            trouble: String::new(),
            out_of_memory: false,
            freezing: false,
            turns: 0,
            attendant: None,
            drain: None,
        }
    }

    /// Whether it belongs to the function for good: it holds the function's durable state.
    pub(super) fn is_current(&self) -> bool {
        matches!(self.stage, Stage::Active | Stage::Resting | Stage::Stopping { keep: true })
    }

    /// Whether it runs, or will without further doing.
    pub(super) fn is_wanted_up(&self) -> bool {
        self.stage == Stage::Active && self.seen.phase != Phase::Exited
    }

    /// Whether it answers, or would when thawed.
    pub(super) fn is_ready(&self) -> bool {
        self.is_wanted_up() && (self.address.is_some() || self.seen.phase == Phase::Paused)
    }

    /// Whether a new call could be saved for it by calling its drain off.
    pub(super) fn is_revivable(&self) -> bool {
        matches!(self.stage, Stage::Leaving | Stage::Resting)
            && !self.seen.removed
            && self.seen.phase == Phase::Running
    }

    pub(super) fn generation(&self) -> u64 {
        self.seen.deploy.generation
    }

    /// What was known of its last run is over.
    fn forget_run(&mut self) {
        self.address = None;
        self.trouble.clear();
        self.out_of_memory = false;
        self.freezing = false;
        if let Some(attendant) = self.attendant.take() {
            attendant.abort();
        }
    }
}

impl Group {
    /// Takes in what the engine shows. `true` when a frozen container runs again.
    pub(super) fn observe(&mut self, seen: Seen) -> bool {
        let Some(member) = self.members.get_mut(&seen.replica) else {
            self.members.insert(seen.replica.clone(), Member::new(seen));
            return false;
        };
        let up = matches!(seen.phase, Phase::Running | Phase::Paused);
        if !up || seen.started_at != member.seen.started_at {
            member.forget_run();
        }
        let known = seen.last_exit == KILLED && member.last_exit == OUT_OF_MEMORY;
        if !seen.last_exit.is_empty() && member.stage == Stage::Active && !known {
            member.last_exit.clone_from(&seen.last_exit);
        }
        if seen.removed && member.is_current() {
            member.stage = Stage::Leaving;
        }
        let thawed = member.seen.phase == Phase::Paused && seen.phase == Phase::Running;
        member.seen = seen;
        thawed
    }

    /// Takes in that a container ended, before the engine can be asked for more.
    pub(super) fn exited(&mut self, replica: &str, exit: impl FnOnce(bool) -> String) {
        let Some(member) = self.members.get_mut(replica) else { return };
        if member.stage == Stage::Active {
            member.last_exit = exit(member.out_of_memory);
        }
        member.forget_run();
        member.seen.started_at.clear();
        if member.seen.phase == Phase::Running {
            member.seen.phase = Phase::Restarting;
        }
    }

    /// Takes in that the kernel killed something for want of memory. The engine may tell that only
    /// after it told of the end: then it explains that one.
    pub(super) fn ran_out_of_memory(&mut self, replica: &str) {
        let Some(member) = self.members.get_mut(replica) else { return };
        if member.last_exit == KILLED {
            OUT_OF_MEMORY.clone_into(&mut member.last_exit);
        } else {
            member.out_of_memory = true;
        }
    }

    /// The newest generation: the one that is wanted.
    pub(super) fn wanted(&self) -> Option<u64> {
        self.current().map(Member::generation).max()
    }

    /// Replicas that are wanted; 0 while the function sleeps.
    pub(super) fn desired(&self) -> u32 {
        let wanted = self.wanted();
        let up = |m: &&Member| m.is_wanted_up() && Some(m.generation()) == wanted;
        self.current().filter(up).count() as u32
    }

    /// The generation that takes calls.
    ///
    /// The wanted one once all of it is ready, or as soon as nothing else is. Else the newest
    /// whole one, or the newest that is ready at all.
    pub(super) fn serving(&self) -> Option<u64> {
        let wanted = self.wanted()?;
        let mut older: Vec<u64> =
            self.current().map(Member::generation).filter(|g| *g < wanted).collect();
        older.sort_unstable();
        older.dedup();
        let any_older = older.iter().any(|g| self.any_ready(*g));
        if older.is_empty() || self.all_ready(wanted) || (self.any_ready(wanted) && !any_older) {
            return Some(wanted);
        }
        let newest = |good: &dyn Fn(u64) -> bool| older.iter().rev().copied().find(|g| good(*g));
        newest(&|g| self.all_ready(g)).or(newest(&|g| self.any_ready(g))).or(older.last().copied())
    }

    /// Replicas that have no place any more: neither wanted nor serving.
    pub(super) fn superseded(&self) -> Vec<String> {
        let (wanted, serving) = (self.wanted(), self.serving());
        let past = |m: &Member| {
            let generation = Some(m.generation());
            m.is_current() && generation != wanted && generation != serving
        };
        self.members.iter().filter(|(_, m)| past(m)).map(|(id, _)| id.clone()).collect()
    }

    /// Spare containers that nobody wants any more: of another deploy, or too many.
    pub(super) fn unwanted_spares(&self) -> Vec<String> {
        let wanted = self.wanted();
        let (kept, mut gone): (Vec<_>, Vec<_>) =
            self.spares().partition(|m| Some(m.generation()) == wanted);
        gone.extend(kept.into_iter().skip(self.prepared(wanted)));
        gone.iter().map(|m| m.seen.replica.clone()).collect()
    }

    /// How many spare containers are to be made now: not while a deploy is still getting ready,
    /// which needs the machine more.
    pub(super) fn missing_spares(&self) -> usize {
        let Some(wanted) = self.wanted() else { return 0 };
        let is_calm = self.serving() == Some(wanted)
            && (self.all_ready(wanted) || self.up_of(wanted).next().is_none());
        let have = self.spares().filter(|m| m.generation() == wanted).count();
        if is_calm { self.prepared(Some(wanted)).saturating_sub(have) } else { 0 }
    }

    fn spares(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|m| m.stage == Stage::Spare)
    }

    fn prepared(&self, generation: Option<u64>) -> usize {
        let mut all = self.current().filter(|m| Some(m.generation()) == generation);
        all.next().map_or(0, |m| m.prepared)
    }

    pub(super) fn current(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|m| m.is_current())
    }

    fn up_of(&self, generation: u64) -> impl Iterator<Item = &Member> {
        self.members.values().filter(move |m| m.generation() == generation && m.is_wanted_up())
    }

    fn any_ready(&self, generation: u64) -> bool {
        self.up_of(generation).any(Member::is_ready)
    }

    fn all_ready(&self, generation: u64) -> bool {
        self.any_ready(generation) && self.up_of(generation).all(Member::is_ready)
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
pub(super) mod tests;
