//! Removing a function: the API server takes the objects away, and the pods follow.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::core::{Core, not_found};
use super::state::{Key, Known};
use crate::{Name, Result};

impl Core {
    /// Removes a function; see [`crate::Provider::remove`].
    ///
    /// Its object goes first, so that nobody makes the rest again; what holds that is let go of
    /// when the rest is gone.
    pub(super) async fn remove(self: Arc<Self>, name: Name) -> Result<()> {
        let _turn = self.turns.lock(&name).await;
        let key = self.key(&name).map_err(|_| not_found(&name))?;
        let is_there = self.existing(&name);
        let described = self.withdraw(&key).await?;
        if !described {
            is_there?;
        }
        self.take_down(&key).await?;
        match described {
            true => self.release(&key).await,
            false => Ok(()),
        }
    }

    /// Removes what the object of a function described, when it is the function's turn.
    pub(super) async fn take_down_alone(self: Arc<Self>, key: &Key) -> Result<()> {
        let Some(name) = self.scope.name(&key.namespace, &key.function) else { return Ok(()) };
        let _turn = self.turns.lock(&name).await;
        self.take_down(key).await
    }

    /// Removes what a function is made of.
    ///
    /// The Deployment goes last: while it is there the function is, and its removal can be tried
    /// again.
    async fn take_down(self: &Arc<Self>, key: &Key) -> Result<()> {
        self.delete::<NetworkPolicy>(key).await?;
        self.delete::<Service>(key).await?;
        self.delete::<Deployment>(key).await?;
        let uid = self.read(key, |known| known.deployment.as_ref().map(|d| d.uid.clone()));
        self.world().removed.extend(uid);
        self.update(key, Known::forget_deployment);
        Ok(())
    }
}
