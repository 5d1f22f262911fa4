//! More or fewer replicas, through the scale subresource: an autoscaler of the cluster does the same.

use std::sync::Arc;

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::apply::what;
use super::core::{Core, written};
use super::render::MANAGER;
use super::state::{Key, Known};
use crate::{Error, Name, Result, Target};

impl Core {
    /// Changes how many replicas run; see [`crate::Provider::scale`].
    pub(super) async fn scale(self: Arc<Self>, name: Name, to: Target) -> Result<()> {
        self.existing(&name)?;
        let Target::Replicas(count) = to else {
            return Err(Error::Unsupported("Kubernetes cannot freeze pods"));
        };
        let _turn = self.turns.lock(&name).await;
        let key = self.existing(&name)?;
        if self.read(&key, Known::desired) == count {
            return Ok(());
        }
        self.resize(&key, count).await
    }

    /// Tells the cluster how many, and takes that in.
    pub(super) async fn resize(self: &Arc<Self>, key: &Key, count: u32) -> Result<()> {
        let api = self.deployments(key);
        let params =
            PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(json!({"spec": {"replicas": count}}));
        let what = what("Deployment", key);
        let scaled = written(&what, || api.patch_scale(&key.function, &params, &patch)).await?;
        let desired = scaled.spec.and_then(|spec| spec.replicas).unwrap_or_default();
        self.update(key, |known| {
            if let Some(wanted) = &mut known.deployment {
                wanted.found.desired = desired.max(0).unsigned_abs();
            }
        });
        Ok(())
    }
}
