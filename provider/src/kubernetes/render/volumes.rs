//! What a function finds in its file system: its secrets, and a `/tmp` that it can write.

use k8s_openapi::api::core::v1::{
    EmptyDirVolumeSource, ProjectedVolumeSource, SecretProjection, Volume, VolumeMount,
    VolumeProjection,
};

use super::{Deploy, Place};
use crate::confine::SECRETS_DIR;

/// Ends the name of the volume of secrets (contract 8.4).
pub(in super::super) const SECRETS_SUFFIX: &str = "projected-secrets";
/// The volume that is `/tmp` where the root is read-only (contract 8.2).
const TMP: (&str, &str) = ("temp", "/tmp");
/// Longest name of a volume, a DNS label.
const MAX_NAME: usize = 63;

/// The volumes of a pod, and where its container has them.
pub(super) fn volumes(deploy: &Deploy, place: &Place<'_>) -> Vec<(Volume, VolumeMount)> {
    let mut all = Vec::new();
    if !place.mounted_secrets.is_empty() {
        all.push(secrets(deploy.name.function(), place.mounted_secrets));
    }
    if deploy.function.read_only_root_filesystem {
        let empty = EmptyDirVolumeSource::default();
        let volume = Volume { empty_dir: Some(empty), ..named(TMP.0) };
        all.push((volume, mount(TMP.0, TMP.1, false)));
    }
    all
}

/// Each key of each secret is a file.
fn secrets(function: &str, names: &[String]) -> (Volume, VolumeMount) {
    let projection = |name: &String| VolumeProjection {
        secret: Some(SecretProjection { name: name.clone(), ..SecretProjection::default() }),
        ..VolumeProjection::default()
    };
    let sources = names.iter().map(projection).collect();
    let projected = ProjectedVolumeSource { sources: Some(sources), default_mode: None };
    let name = match format!("{function}-{SECRETS_SUFFIX}") {
        name if name.len() <= MAX_NAME => name,
        _ => SECRETS_SUFFIX.to_owned(),
    };
    let volume = Volume { projected: Some(projected), ..named(&name) };
    (volume, mount(&name, SECRETS_DIR, true))
}

fn named(name: &str) -> Volume {
    Volume { name: name.to_owned(), ..Volume::default() }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
