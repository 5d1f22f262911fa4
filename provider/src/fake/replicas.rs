//! How the fake starts, updates, scales and drains replicas.

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
        let held = world.held;
        let Some(mut status) = world.functions.remove(name) else {
            return Err(Error::NotFound(name.to_string()));
        };
        match to {
            Target::Frozen => script::turn(&mut status, State::Ready, State::Frozen),
            Target::Replicas(count) => {
                script::turn(&mut status, State::Frozen, State::Ready);
                status.desired = count;
                world.grow(name, &mut status);
                self.shrink(name, &mut status);
            }
        }
        world.functions.insert(name.clone(), status);
        drop(world);
        if !held {
            self.make_ready(name);
        }
        self.publish(name);
        Ok(())
    }

    /// Marks the replicas beyond the wanted number as draining, oldest first, and lets them go.
    fn shrink(&self, name: &Name, status: &mut Status) {
        let active = status.replicas.iter().filter(|r| r.state != State::Draining).count();
        let surplus = active.saturating_sub(status.desired as usize);
        let victims = status.replicas.iter_mut().filter(|r| r.state != State::Draining);
        for replica in victims.take(surplus) {
            replica.state = State::Draining;
            self.let_go(name, &replica.id);
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
    fn grow(&mut self, name: &Name, status: &mut Status) {
        let wanted = status.generation;
        let of_wanted = |r: &&Replica| r.generation == wanted && r.state != State::Draining;
        let have = status.replicas.iter().filter(of_wanted).count();
        for _ in have..status.desired as usize {
            status.replicas.push(self.new_replica(name, wanted));
        }
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
        }
    }
}
