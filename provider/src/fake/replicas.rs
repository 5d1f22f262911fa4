//! How the fake starts, updates, scales and drains replicas.

use std::collections::BTreeSet;

use super::{DRAIN, Error, Fake, Function, Name, Replica, Result, State, Status, Target, World};
use super::{Timestamp, script};

impl Fake {
    /// Adds a generation; the older one serves until the new one is ready.
    pub(super) fn deploy(&self, name: &Name, function: &Function) -> Result<Status> {
        let mut world = self.world();
        let scale = function.scale()?;
        let old = world.functions.remove(name);
        let generation = old.as_ref().map_or(1, |status| status.generation + 1);
        let desired = old.as_ref().map_or(0, |status| status.desired);
        let stored = Function { registry_auth: String::new(), ..function.clone() };
        let mut status = Status {
            function: stored,
            desired: scale.clamp(desired).max(scale.initial()),
            replicas: old.as_ref().map_or_else(Vec::new, |status| status.replicas.clone()),
            generation,
            created_at: old.map_or_else(Timestamp::now, |status| status.created_at),
            reason: String::new(),
            warnings: Vec::new(),
        };
        for _ in 0..status.desired {
            status.replicas.push(world.new_replica(name, generation));
        }
        let held = world.held;
        world.functions.insert(name.clone(), status);
        drop(world);
        if !held {
            self.make_ready(name);
        }
        self.publish(name);
        self.status(name).ok_or_else(|| Error::NotFound(name.to_string()))
    }

    /// Starts, drains, freezes or thaws replicas of the wanted generation.
    pub(super) fn rescale(&self, name: &Name, to: Target) -> Result<()> {
        let mut world = self.world();
        if to == Target::Frozen && !world.freezes {
            return Err(Error::Unsupported("freezing"));
        }
        let held = world.held;
        let Some(mut status) = world.functions.remove(name) else {
            return Err(Error::NotFound(name.to_string()));
        };
        let mut grown = false;
        match to {
            Target::Frozen => {
                if let Some(busy) = self.busy(&status) {
                    world.functions.insert(name.clone(), status);
                    return Err(Error::Conflict(format!("{busy} has calls in flight")));
                }
                script::turn(&mut status, State::Ready, State::Frozen);
            }
            Target::Replicas(count) => {
                script::turn(&mut status, State::Frozen, State::Ready);
                status.desired = count;
                grown = world.grow(name, &mut status);
                self.shrink(name, &mut status);
            }
        }
        world.functions.insert(name.clone(), status);
        drop(world);
        if grown && !held {
            self.make_ready(name);
        }
        self.publish(name);
        Ok(())
    }

    /// A replica that takes calls and has some.
    fn busy(&self, status: &Status) -> Option<String> {
        let busy = |r: &&Replica| self.0.calls.counter(&r.id).in_flight() > 0;
        status.ready().find(busy).map(|replica| replica.id.clone())
    }

    /// Marks the replicas of each generation beyond the wanted number as draining, oldest first, and
    /// lets them go.
    fn shrink(&self, name: &Name, status: &mut Status) {
        let active = |r: &&Replica| r.state != State::Draining;
        let generations: BTreeSet<_> =
            status.replicas.iter().filter(active).map(|r| r.generation).collect();
        for generation in generations {
            let of = |r: &Replica| r.state != State::Draining && r.generation == generation;
            let count = status.replicas.iter().filter(|r| of(r)).count();
            let surplus = count.saturating_sub(status.desired as usize);
            for replica in status.replicas.iter_mut().filter(|r| of(r)).take(surplus) {
                replica.state = State::Draining;
                self.let_go(name, &replica.id);
            }
        }
    }

    /// Removes a replica once its calls have ended.
    pub(super) fn let_go(&self, name: &Name, replica: &str) {
        let (fake, name, replica) = (self.clone(), name.clone(), replica.to_owned());
        tokio::spawn(async move {
            fake.0.calls.drain(&replica, DRAIN).await;
            fake.0.calls.forget(&replica);
            if let Some(status) = fake.world().functions.get_mut(&name) {
                status.replicas.retain(|r| r.id != replica);
            }
            fake.publish(&name);
        });
    }
}

impl World {
    /// Adds what is missing; `true` when anything was.
    fn grow(&mut self, name: &Name, status: &mut Status) -> bool {
        let wanted = status.generation;
        let of_wanted = |r: &&Replica| r.generation == wanted && r.state != State::Draining;
        let have = status.replicas.iter().filter(of_wanted).count();
        for _ in have..status.desired as usize {
            status.replicas.push(self.new_replica(name, wanted));
        }
        have < status.desired as usize
    }

    fn new_replica(&mut self, name: &Name, generation: u64) -> Replica {
        self.counter += 1;
        Replica {
            id: format!("{name}.{generation}.{}", self.counter),
            address: None,
            state: State::Starting,
            generation,
            restarts: 0,
            last_exit: String::new(),
            trouble: String::new(),
        }
    }
}
