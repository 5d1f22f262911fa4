//! Functions as objects of the cluster: `functions.flint.dev`, and those of the reference product.
//!
//! Where the first are installed, a deploy through the API writes one, so that `kubectl` and the
//! API show and change the same function. The object comes first and is the wish; the gateway that
//! leads makes the cluster be as the objects say ([`operator`]), however they came to be.

mod fault;
mod operator;
mod spec;
mod status;
mod worker;
mod write;

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Api, Client};

pub(super) use self::operator::operate;
use super::core::{Core, asked};
use super::error::is_not_found;
use crate::Result;

/// Holds an object that we did not write until what it describes is gone. One that we wrote is the
/// owner of that instead, and holds up nobody who removes a whole namespace.
const FINALIZER: &str = "flint.dev/function";
/// The version that is read and written.
const VERSION: &str = "v1";
/// What the objects are called.
const KIND: &str = "Function";
/// What the API server calls them.
const PLURAL: &str = "functions";

/// Whose objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Ours: read and written.
    Flint,
    /// The reference product's: only read, so what is made from them goes by its owner.
    OpenFaas,
}

impl Group {
    /// Both; where they describe the same function the first one counts.
    pub(super) const ALL: [Self; 2] = [Self::Flint, Self::OpenFaas];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flint => "flint.dev",
            Self::OpenFaas => "openfaas.com",
        }
    }

    fn resource(self) -> ApiResource {
        ApiResource {
            group: self.name().to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{}/{VERSION}", self.name()),
            kind: KIND.to_owned(),
            plural: PLURAL.to_owned(),
        }
    }

    /// The objects of a namespace, or of all.
    fn api(self, client: &Client, namespace: Option<&str>) -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource()),
            None => Api::all_with(client.clone(), &self.resource()),
        }
    }

    /// An object in words.
    fn what(self, name: &str) -> String {
        format!("{PLURAL}.{} {name}", self.name())
    }
}

impl Core {
    /// Whether functions can be objects of this cluster at all; asked once.
    async fn has_sound_objects(&self) -> Result<bool> {
        let ask = || async {
            let server = asked("version", self.client.apiserver_version()).await?;
            let faulty = fault::is_faulty(&server);
            if faulty {
                let (version, go) = (&server.git_version, &server.go_version);
                tracing::warn!(%version, %go, "this API server ends with a memory fault when it is \
                    given objects of other kinds than its own, so functions are none here");
            }
            Ok(!faulty)
        };
        self.sound_objects.get_or_try_init(ask).await.copied()
    }
}

/// The functions that objects of a namespace describe, whether they run or not.
pub(super) async fn names(client: &Client, namespace: &str) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for group in Group::ALL {
        let api = group.api(client, Some(namespace));
        let listed = asked("the list of functions", async {
            match api.list_metadata(&ListParams::default()).await {
                Err(error) if is_not_served(&error) => Ok(Vec::new()),
                other => other.map(|listed| listed.items),
            }
        });
        all.extend(listed.await?.into_iter().filter_map(|object| object.metadata.name));
    }
    Ok(all)
}

/// What looking for an object came to.
enum Look {
    Found(Box<DynamicObject>),
    /// It is not there.
    Absent,
    /// There are no such objects here, or none that the gateway may read.
    NotServed,
}

/// Looks for the object of a function.
async fn look(client: &Client, group: Group, namespace: &str, name: &str) -> Result<Look> {
    let api = group.api(client, Some(namespace));
    asked(&group.what(name), async {
        match api.get(name).await {
            Ok(found) => Ok(Look::Found(Box::new(found))),
            Err(error) if is_not_served(&error) => Ok(Look::NotServed),
            Err(error) if is_not_found(&error) => Ok(Look::Absent),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Whether an error says that there are no such objects, or none for us. Where only the one object
/// is missing, the answer has its name.
fn is_not_served(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    status.code == 403 || (status.code == 404 && !named)
}

fn is_going(metadata: &ObjectMeta) -> bool {
    metadata.deletion_timestamp.is_some()
}

fn is_held(metadata: &ObjectMeta) -> bool {
    metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// The object as the owner of what is made from it.
fn owner(group: Group, metadata: &ObjectMeta) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: group.resource().api_version,
        kind: KIND.to_owned(),
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}
