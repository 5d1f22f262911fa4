//! What is known of each function: its Deployment and its pods. No IO.

use std::collections::{BTreeMap, HashSet};

use jiff::SignedDuration;

use super::dial::Asking;
use super::pods::Seen;
use super::read::Found;
use super::scope::Scope;

/// How far the clocks of several API servers may be apart.
const SKEW: SignedDuration = SignedDuration::from_secs(5);

/// A function by what the cluster calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The cluster's namespace.
    pub(super) namespace: String,
    /// The function, and its Deployment.
    pub(super) function: String,
}

/// Everything that is known.
#[derive(Default)]
pub(super) struct World {
    pub(super) functions: BTreeMap<Key, Known>,
    /// Deployments that we removed and whose end the watch has not told yet.
    pub(super) removed: HashSet<String>,
    /// What each watch has listed once.
    pub(super) listed: Listed,
}

/// Which lists are whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) deployments: bool,
    pub(super) pods: bool,
    pub(super) namespaces: bool,
}

/// What is known of one function.
#[derive(Default)]
pub(super) struct Known {
    pub(super) deployment: Option<Wanted>,
    /// By name, which is the replica's id.
    pub(super) pods: BTreeMap<String, Member>,
}

/// A Deployment as it was last seen.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Tells it from another Deployment of its name.
    pub(super) uid: String,
    /// Its version; grows with each change.
    pub(super) version: u64,
    pub(super) found: Found,
    /// Whether it is ours: another manager's is taken over with the next deploy.
    pub(super) is_ours: bool,
    /// Whether it waits for its pods to go.
    pub(super) is_going: bool,
    /// How many pods serve by what the cluster knows.
    pub(super) available: u32,
    /// Why its pods cannot be made.
    pub(super) failure: String,
    /// Whether we wrote it since the watch began its list, which may not have it yet.
    pub(super) is_fresh: bool,
}

/// A pod, and what we know beside what the API server says.
#[derive(Default)]
pub(super) struct Member {
    pub(super) seen: Seen,
    /// Whether it has answered us in this run.
    pub(super) has_answered: bool,
    /// Whether the kubelet has said in this run that it is ready: from then on only it counts.
    pub(super) was_ready: bool,
    /// Why it is taken never to answer.
    pub(super) silence: String,
    /// Whether its Deployment is gone: another one of that name has nothing to do with it. Follows
    /// from what is known; see [`Known::part`].
    pub(super) is_orphan: bool,
    /// Whether its counter lets no calls in.
    pub(super) is_closed: bool,
    /// The task that asks it.
    pub(super) dial: Option<Asking>,
}

impl World {
    /// Whether every watch has told everything once.
    pub(super) fn is_listed(&self, scope: &Scope) -> bool {
        let Listed { deployments, pods, namespaces } = self.listed;
        deployments && pods && (namespaces || !scope.cluster_wide)
    }

    /// A list of Deployments begins, which has all that was written until now.
    pub(super) fn begin_deployments(&mut self) {
        self.removed.clear();
        for wanted in self.functions.values_mut().filter_map(|known| known.deployment.as_mut()) {
            wanted.is_fresh = false;
        }
    }

    /// All Deployments there are. One that we wrote meanwhile may be missing.
    pub(super) fn list_deployments(&mut self, all: Vec<(Key, Wanted)>) {
        let keys: HashSet<_> = all.iter().map(|(key, _)| key.clone()).collect();
        for (key, known) in &mut self.functions {
            let fresh = known.deployment.as_ref().is_some_and(|wanted| wanted.is_fresh);
            if !keys.contains(key) && !fresh && known.deployment.is_some() {
                known.forget_deployment();
            }
        }
        let removed = &self.removed;
        for (key, wanted) in all.into_iter().filter(|(_, wanted)| !removed.contains(&wanted.uid)) {
            self.functions.entry(key).or_default().observe_deployment(wanted);
        }
        self.listed.deployments = true;
    }

    /// All pods there are. Returns those that are gone.
    pub(super) fn list_pods(&mut self, all: Vec<(Key, String, Seen)>) -> Vec<String> {
        let names: HashSet<(Key, String)> =
            all.iter().map(|(key, pod, _)| (key.clone(), pod.clone())).collect();
        let mut gone = Vec::new();
        for (key, known) in &mut self.functions {
            known.pods.retain(|pod, _| {
                let is_there = names.contains(&(key.clone(), pod.clone()));
                if !is_there {
                    gone.push(pod.clone());
                }
                is_there
            });
        }
        for (key, pod, seen) in all {
            if self.functions.entry(key).or_default().observe_pod(&pod, seen) {
                gone.push(pod);
            }
        }
        self.listed.pods = true;
        gone
    }
}

impl Member {
    /// Whether it takes calls: by the kubelet's word, or until that comes by its own answer.
    pub(super) fn is_ready(&self) -> bool {
        let answered = self.has_answered && !self.was_ready && self.seen.is_running;
        (self.seen.is_ready || answered) && self.seen.ip.is_some() && !self.is_leaving()
    }

    /// Whether it is on its way out.
    pub(super) fn is_leaving(&self) -> bool {
        self.seen.is_terminating || self.is_orphan
    }

    /// Whether it is worth asking: it has an address, and nobody knows yet whether it answers.
    pub(super) fn is_to_be_asked(&self) -> bool {
        let known = self.seen.is_ready || self.was_ready || self.has_answered;
        let hopeless = !self.silence.is_empty() || !self.seen.trouble.is_empty();
        self.seen.ip.is_some() && !known && !hopeless && !self.is_leaving() && !self.seen.is_over
    }

    /// Takes in what is seen now.
    fn observe(&mut self, seen: Seen) {
        if seen.run != self.seen.run || seen.ip != self.seen.ip {
            self.has_answered = false;
            self.was_ready = false;
            self.silence.clear();
            self.dial = None;
        }
        self.was_ready |= seen.is_ready;
        self.seen = seen.after(&self.seen);
    }
}

impl Known {
    /// The Deployment, unless it is on its way out.
    pub(super) fn wanted(&self) -> Option<&Wanted> {
        self.deployment.as_ref().filter(|wanted| !wanted.is_going)
    }

    /// How many pods are wanted.
    pub(super) fn desired(&self) -> u32 {
        self.wanted().map_or(0, |wanted| wanted.found.desired)
    }

    /// Takes in a Deployment unless a newer state of it is known.
    pub(super) fn observe_deployment(&mut self, wanted: Wanted) {
        match &self.deployment {
            Some(known) if known.uid == wanted.uid && known.version > wanted.version => {}
            _ => self.deployment = Some(wanted),
        }
    }

    /// The Deployment is gone; its pods follow by themselves.
    pub(super) fn forget_deployment(&mut self) {
        self.deployment = None;
    }

    /// Parts the Deployment's pods from those of one of its name before it, which were made before
    /// it was. Who carries its generation is its own, whatever the clocks say.
    pub(super) fn part(&mut self) {
        let wanted = self.deployment.as_ref().filter(|wanted| !wanted.is_going);
        let found = wanted.map(|wanted| (wanted.found.generation, wanted.found.created_at));
        for member in self.pods.values_mut() {
            let Some((generation, created_at)) = found else {
                member.is_orphan = true;
                continue;
            };
            let seen = &member.seen;
            let is_own = generation > 0 && seen.generation == generation;
            let before = seen.created_at.is_some_and(|time| created_at.duration_since(time) > SKEW);
            member.is_orphan = before && !is_own;
        }
    }

    /// Takes in a pod. Returns whether it took the place of another one of its name.
    pub(super) fn observe_pod(&mut self, pod: &str, seen: Seen) -> bool {
        let other = |member: &&mut Member| member.seen.uid != seen.uid;
        let replaced = self.pods.get_mut(pod).filter(other).is_some();
        if replaced {
            self.pods.remove(pod);
        }
        self.pods.entry(pod.to_owned()).or_default().observe(seen);
        replaced
    }

    /// Whether the cluster knows of all pods that serve.
    pub(super) fn is_agreed(&self) -> bool {
        let serving = self.pods.values().filter(|member| member.is_ready()).count();
        self.wanted().is_none_or(|wanted| serving <= wanted.available as usize)
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.deployment.is_none() && self.pods.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    fn key(function: &str) -> Key {
        Key { namespace: "fns".to_owned(), function: function.to_owned() }
    }

    fn wanted(uid: &str, version: u64) -> Wanted {
        let created_at = jiff::Timestamp::UNIX_EPOCH;
        Wanted {
            uid: uid.to_owned(),
            version,
            found: Found {
                function: Function::default(),
                generation: version,
                created_at,
                desired: 1,
            },
            is_ours: true,
            is_going: false,
            available: 0,
            failure: String::new(),
            is_fresh: false,
        }
    }

    fn seen(uid: &str, run: &str) -> Seen {
        Seen { uid: uid.to_owned(), run: run.to_owned(), is_running: true, ..Seen::default() }
    }

    #[test]
    fn an_older_state_of_the_same_deployment_changes_nothing() {
        let mut known = Known::default();
        known.observe_deployment(wanted("a", 5));
        known.observe_deployment(wanted("a", 4));
        assert_eq!(known.wanted().unwrap().version, 5);
        known.observe_deployment(wanted("b", 1));
        assert_eq!(known.wanted().unwrap().uid, "b", "another one of its name");
    }

    #[test]
    fn a_list_forgets_what_is_not_in_it_but_what_was_written_meanwhile() {
        let mut world = World::default();
        world.list_deployments(vec![(key("a"), wanted("a", 1)), (key("b"), wanted("b", 1))]);
        world.begin_deployments();
        let fresh = Wanted { is_fresh: true, ..wanted("c", 2) };
        world.functions.entry(key("c")).or_default().observe_deployment(fresh);
        world.removed.insert("a".to_owned());
        world.functions.get_mut(&key("a")).unwrap().forget_deployment();
        world.list_deployments(vec![(key("a"), wanted("a", 1))]);
        let there = |function: &str| world.functions[&key(function)].wanted().is_some();
        assert_eq!(["a", "b", "c"].map(there), [false, false, true]);
    }

    #[test]
    fn a_list_of_pods_tells_who_is_gone() {
        let mut world = World::default();
        let pod = |name: &str, uid: &str| (key("a"), name.to_owned(), seen(uid, "1"));
        assert!(world.list_pods(vec![pod("a1", "u1"), pod("a2", "u2")]).is_empty());
        assert_eq!(world.list_pods(vec![pod("a2", "other")]), ["a1", "a2"]);
        assert_eq!(world.functions[&key("a")].pods["a2"].seen.uid, "other");
    }

    #[test]
    fn another_run_of_a_container_has_everything_before_it_again() {
        let mut known = Known::default();
        known.observe_pod("a1", Seen { is_ready: true, ..seen("u", "1") });
        let member = known.pods.get_mut("a1").unwrap();
        assert!(member.was_ready);
        member.has_answered = true;
        known.observe_pod("a1", seen("u", "1"));
        assert!(known.pods["a1"].was_ready && known.pods["a1"].has_answered);
        known.observe_pod("a1", seen("u", "2"));
        assert!(!known.pods["a1"].was_ready && !known.pods["a1"].has_answered);
    }

    #[test]
    fn it_is_asked_while_nobody_knows_whether_it_answers() {
        let mut member = Member { seen: seen("u", "1"), ..Member::default() };
        assert!(!member.is_to_be_asked(), "it has no address");
        member.seen.ip = "10.0.0.1".parse().ok();
        assert!(member.is_to_be_asked());
        let ends: [fn(&mut Member); 5] = [
            |m| m.seen.is_ready = true,
            |m| m.has_answered = true,
            |m| m.silence = "it never listened".to_owned(),
            |m| m.seen.trouble = "exit code 3".to_owned(),
            |m| m.seen.is_terminating = true,
        ];
        for end in ends {
            let mut member = Member { seen: member.seen.clone(), ..Member::default() };
            end(&mut member);
            assert!(!member.is_to_be_asked());
        }
    }
}
