//! Deploying: new containers beside the old ones. Who serves follows from what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;

use super::core::{Core, not_found};
use super::deploy::Deploy;
use super::engine::{Blueprint, Create};
use super::group::{Group, Member, Stage};
use super::seen::Seen;
use crate::{Error, Function, Name, Result, Status};

/// Containers that are made, or started, at once.
const STARTS: usize = 4;
/// Names that are tried for one container: another gateway on this engine may hold the first.
const NAME_TRIES: usize = 100;
/// Longest wait for containers of a failed deploy to go.
const DISMISS_TIMEOUT: Duration = Duration::from_secs(30);

/// New containers of one deploy.
pub(super) struct Batch {
    pub(super) deploy: Deploy,
    /// The image: its reference or its id.
    pub(super) image: String,
    pub(super) count: usize,
}

impl Core {
    /// Deploys a function; see [`crate::Provider::apply`].
    pub(super) async fn apply(self: Arc<Self>, function: Function) -> Result<Status> {
        let name = function.name()?;
        let _turn = self.turns.lock(&name).await;
        let deployed = self.deploy(&name, function).await;
        self.update(&name, |group| match &deployed {
            Ok(()) => group.failure.clear(),
            // Whoever asks for what cannot be is told at once; the function is as well as before.
            Err(Error::Invalid { .. }) => {}
            Err(e) => group.failure = e.to_string(),
        });
        if let Err(error) = deployed {
            self.tidy().await;
            return Err(error);
        }
        self.feed.get(&name).ok_or_else(|| not_found(&name))
    }

    async fn deploy(self: &Arc<Self>, name: &Name, function: Function) -> Result<()> {
        self.check(name, &function).await?;
        let image = self.engine.fetch(&function).await?;
        let _gate = self.gate.read().await;
        // Once more: it may have been removed during the pull, and cannot be any more.
        self.namespaces.check(name.namespace()).await?;
        let batch = self.read(name, |group| self.next_batch(group, image, function))?;
        let made = self.create(&batch).await?;
        let started = self.start(name, &made).await;
        if started.is_err() {
            self.dismiss(name, &made).await;
        }
        started
    }

    /// What only this backend can know to be wrong.
    async fn check(&self, name: &Name, function: &Function) -> Result<()> {
        function.validate()?;
        self.engine.check(function)?;
        self.namespaces.check(name.namespace()).await?;
        self.secrets.read(name.namespace(), &function.secrets).map(|_| ())
    }

    /// As many as ran before, within the new bounds; at least as many as a fresh deploy has, so
    /// that whoever deploys sees whether it works.
    fn next_batch(&self, group: &Group, image: String, function: Function) -> Result<Batch> {
        let scale = function.scale()?;
        let newest = group.members.values().map(Member::generation).max().unwrap_or(0);
        let first = group.current().map(|m| m.seen.deploy.created_at).min();
        let deploy = Deploy {
            name: function.name()?,
            generation: self.next_generation(newest),
            created_at: first.unwrap_or_else(Timestamp::now),
            function: Function { registry_auth: String::new(), ..function },
        };
        let count = scale.clamp(group.desired()).max(scale.initial()) as usize;
        Ok(Batch { deploy, image, count })
    }

    /// Makes containers and takes all of them in at once, before any is started: a part of them
    /// must not pass for the whole. After a failure none is left.
    pub(super) async fn create(self: &Arc<Self>, batch: &Batch) -> Result<Vec<String>> {
        let name = &batch.deploy.name;
        let tries = stream::iter(0..batch.count).map(|_| self.create_one(batch));
        let tries: Vec<_> = tries.buffer_unordered(STARTS).collect().await;
        let (mut made, mut failure) = (Vec::with_capacity(batch.count), None);
        for tried in tries {
            match tried {
                Ok(seen) => made.push(seen),
                Err(error) => failure = Some(error),
            }
        }
        let replicas: Vec<_> = made.iter().map(|seen| seen.replica.clone()).collect();
        self.update(name, |group| {
            for seen in made {
                group.observe(seen);
            }
            if failure.is_some() {
                leave(group, &replicas);
            }
        });
        let Some(failure) = failure else { return Ok(replicas) };
        self.dismiss(name, &replicas).await;
        Err(failure)
    }

    /// Makes one container. Between the look for a free name and its taking nothing is awaited, so
    /// several can be made at once.
    pub(super) async fn create_one(&self, batch: &Batch) -> Result<Seen> {
        let name = &batch.deploy.name;
        let secrets = self.secrets.read(name.namespace(), &batch.deploy.function.secrets)?;
        let names = (1..).map(|number| batch.deploy.replica_id(number));
        let free = names.filter(|replica| !self.files.of(replica).dir.exists());
        for replica in free.take(NAME_TRIES) {
            let files = self.files.of(&replica);
            self.files.create(&replica, &secrets)?;
            let new = Blueprint {
                deploy: &batch.deploy,
                replica: &replica,
                image: &batch.image,
                files: &files,
                stop_timeout: batch.deploy.function.stop_grace(self.default_timeout),
            };
            match self.engine.create(&new).await {
                Err(Create::NameTaken) => self.remove_files(&replica),
                Err(failure) => {
                    self.remove_files(&replica);
                    return Err(self.create_error(failure, &batch.image));
                }
                Ok(seen) => return Ok(seen),
            }
        }
        Err(self.refused(format!("no free name for a replica of {name}")))
    }

    /// The error for whoever deployed.
    fn create_error(&self, failure: Create, image: &str) -> Error {
        match failure {
            Create::NameTaken => self.refused("the replica's name is taken"),
            Create::NoImage(reason) => Error::Image { image: image.to_owned(), reason },
            Create::Other(error) => error,
        }
    }

    /// Starts containers, several at once.
    pub(super) async fn start(self: &Arc<Self>, name: &Name, replicas: &[String]) -> Result<()> {
        let replicas = stream::iter(replicas.to_vec()).map(Ok);
        let start = |replica| self.clone().start_one(name.clone(), replica);
        replicas.try_for_each_concurrent(STARTS, start).await
    }

    async fn start_one(self: Arc<Self>, name: Name, replica: String) -> Result<()> {
        let Some(id) = self.member(&name, &replica, |m| m.seen.id.clone()) else {
            return Err(self.refused("a replica went before it was started"));
        };
        self.engine.start(&id).await?;
        self.look(&name, &replica).await
    }

    /// Removes containers that came to nothing.
    pub(super) async fn dismiss(self: &Arc<Self>, name: &Name, replicas: &[String]) {
        self.update(name, |group| leave(group, replicas));
        let gone = |world: &super::core::World| {
            let left = |r| world.get(name).is_some_and(|g| g.members.contains_key(r));
            !replicas.iter().any(left)
        };
        if let Err(error) = self.until(DISMISS_TIMEOUT, gone).await {
            tracing::warn!(%name, %error, "replicas of a failed deploy are still there");
        }
    }
}

fn leave(group: &mut Group, replicas: &[String]) {
    for replica in replicas {
        if let Some(member) = group.members.get_mut(replica).filter(|m| m.is_current()) {
            member.stage = Stage::Leaving;
        }
    }
}
