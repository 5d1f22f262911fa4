//! What becomes of a lease that several want.

use futures_util::future::select_all;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use provider::Leadership;
use provider::kubernetes::{Candidacy, ElectionConfig, campaign};
use serde_json::json;

use super::Case;

/// The cases by name.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    macro_rules! cases {
        ($($name:ident),* $(,)?) => {
            vec![$((stringify!($name), (|client, namespace| Box::pin($name(client, namespace))) as Case)),*]
        };
    }
    cases![
        another_one_leads_when_the_first_is_killed,
        who_resigns_is_followed_at_once_and_sees_by_whom,
        who_sees_another_holder_leads_no_more,
        a_lease_that_is_deleted_is_made_again,
        of_many_one_leads,
    ]
}

fn candidate(client: &Client, namespace: &str, name: &str) -> Candidacy {
    let config = ElectionConfig {
        namespace: namespace.to_owned(),
        name: "gateway".to_owned(),
        identity: name.to_owned(),
        url: Some(format!("http://{name}:8080")),
    };
    campaign(client.clone(), config)
}

async fn until(candidacy: &Candidacy, wanted: impl FnMut(&Leadership) -> bool) -> Leadership {
    candidacy.leadership().wait_for(wanted).await.unwrap().clone()
}

/// Waits until one leads, and all others know it.
async fn first(all: &[Candidacy]) -> usize {
    let leads = all.iter().map(|one| Box::pin(until(one, Leadership::is_leader)));
    let (leadership, index, _) = select_all(leads).await;
    for other in all {
        until(other, |seen| seen.leader == leadership.leader).await;
    }
    assert_eq!(all.iter().filter(|one| one.leadership().borrow().is_leader()).count(), 1);
    index
}

async fn another_one_leads_when_the_first_is_killed(client: Client, namespace: String) {
    let mut all = vec![candidate(&client, &namespace, "a"), candidate(&client, &namespace, "b")];
    let killed = first(&all).await;
    let name = all[killed].leadership().borrow().leader.clone();
    let other = 1 - killed;
    let seen = all[other].leadership().borrow().clone();
    assert_eq!(seen.leader_url, name.clone().map(|name| format!("http://{name}:8080")));
    drop(all.remove(killed));
    let seen = until(&all[0], Leadership::is_leader).await;
    assert!(seen.leader.is_some() && seen.leader != name);
    let lease = leases(&client, &namespace).get("gateway").await.unwrap().spec.unwrap();
    assert_eq!((lease.holder_identity, lease.lease_transitions), (seen.leader, Some(1)));
}

async fn who_resigns_is_followed_at_once_and_sees_by_whom(client: Client, namespace: String) {
    let all = [candidate(&client, &namespace, "a"), candidate(&client, &namespace, "b")];
    let old = first(&all).await;
    let name = all[old].leadership().borrow().leader.clone();
    all[old].resign().await;
    assert!(!all[old].leadership().borrow().is_leader());
    let new = until(&all[1 - old], Leadership::is_leader).await;
    assert_ne!(new.leader, name);
    until(&all[old], |seen| seen.leader == new.leader && seen.leader_url == new.leader_url).await;
    // It wants nothing any more.
    all[1 - old].resign().await;
    until(&all[old], |seen| seen.leader.is_none()).await;
    let lease = leases(&client, &namespace).get("gateway").await.unwrap();
    assert_eq!(lease.spec.unwrap().holder_identity.as_deref(), Some(""));
    assert!(lease.metadata.annotations.is_none_or(|all| !all.contains_key("flint.dev/peer-url")));
}

async fn who_sees_another_holder_leads_no_more(client: Client, namespace: String) {
    let one = candidate(&client, &namespace, "a");
    until(&one, Leadership::is_leader).await;
    let patch = Patch::Merge(json!({ "spec": { "holderIdentity": "somebody" } }));
    let leases = leases(&client, &namespace);
    leases.patch("gateway", &PatchParams::default(), &patch).await.unwrap();
    let seen = until(&one, |seen| seen.leader.as_deref() == Some("somebody")).await;
    assert!(!seen.is_leader());
    until(&one, Leadership::is_leader).await;
}

async fn a_lease_that_is_deleted_is_made_again(client: Client, namespace: String) {
    let one = candidate(&client, &namespace, "a");
    until(&one, Leadership::is_leader).await;
    let leases = leases(&client, &namespace);
    leases.delete("gateway", &DeleteParams::default()).await.unwrap();
    while leases.get_opt("gateway").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(one.leadership().borrow().is_leader());
    let other = candidate(&client, &namespace, "b");
    until(&other, |seen| seen.leader.as_deref() == Some("a")).await;
}

async fn of_many_one_leads(client: Client, namespace: String) {
    let all: Vec<_> = (0..8).map(|i| candidate(&client, &namespace, &format!("c{i}"))).collect();
    first(&all).await;
}

fn leases(client: &Client, namespace: &str) -> Api<Lease> {
    Api::namespaced(client.clone(), namespace)
}
