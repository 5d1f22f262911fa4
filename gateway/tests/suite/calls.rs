//! Calls through the gateway's data path to a scripted provider.

use std::net::TcpListener;

use provider::{Address, Error, Provider, Target};

use crate::house::{House, upstream};

const FUNCTION: &str = r#"{"service":"f","image":"i"}"#;

#[tokio::test]
async fn a_call_reaches_the_function_with_its_own_path() {
    let house = House::new().await;
    house.deploy(FUNCTION).await;
    for (path, seen) in [
        ("/function/f", "GET / HTTP/1.1"),
        ("/function/f?a=b", "GET /?a=b HTTP/1.1"),
        ("/function/f.openfaas-fn/a%2Fb//c?d", "GET /a%2Fb//c?d HTTP/1.1"),
    ] {
        let answer = house.call(path).await.unwrap();
        assert!(answer.ends_with(seen), "{path}: {answer}");
        assert!(answer.contains("x-call-id: "), "{answer}");
    }
    assert_eq!(house.directory.get("f").unwrap().live.metrics.invocations(), 3);
}

#[tokio::test]
async fn names_that_are_not_there_and_names_that_are_none() {
    let house = House::new().await;
    for (path, status) in [
        ("/function/none", "404"),
        ("/function/..", "400"),
        ("/function/A", "400"),
        ("/function/", "400"),
    ] {
        let answer = house.call(path).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("x-faas-error: "), "{answer}");
    }
}

#[tokio::test]
async fn a_call_is_held_until_a_replica_is_ready() {
    let house = House::new().await;
    house.fake.hold(true);
    let name = house.deploy(FUNCTION).await;
    let call = house.call("/function/f");
    house.in_flight(1).await;
    assert!(!call.is_finished());
    house.fake.make_ready(&name);
    assert!(call.await.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn many_calls_wake_a_sleeping_function_once() {
    let house = House::new().await;
    let name = house.deploy(FUNCTION).await;
    house.fake.scale(&name, Target::Replicas(0)).await.unwrap();
    house.until(&name, |status| status.ready().count() == 0).await;
    house.fake.hold(true);
    let calls: Vec<_> = (0..20).map(|_| house.call("/function/f")).collect();
    house.in_flight(20).await;
    house.asked_for(&name, 1).await;
    house.fake.make_ready(&name);
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let wakes = house.fake.scales().into_iter().filter(|(_, to)| *to == Target::Replicas(1));
    assert_eq!(wakes.count(), 1);
}

#[tokio::test]
async fn a_wake_that_fails_is_told_with_its_reason() {
    let house = House::new().await;
    let name = house.deploy(FUNCTION).await;
    house.fake.scale(&name, Target::Replicas(0)).await.unwrap();
    house.until(&name, |status| status.ready().count() == 0).await;
    house.fake.fail_next(Error::Conflict("no room".to_owned()));
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("no room") && answer.contains("retry-after: "), "{answer}");
}

#[tokio::test]
async fn a_crashing_function_is_told_at_once() {
    let house = House::new().await;
    house.fake.hold(true);
    let name = house.deploy(FUNCTION).await;
    house.fake.edit(&name, |status| {
        status.reason = "exit code 7".to_owned();
        for replica in &mut status.replicas {
            replica.restarts = 3;
        }
    });
    house.until(&name, |status| !status.reason.is_empty()).await;
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("exit code 7"), "{answer}");
}

#[tokio::test]
async fn a_function_that_served_a_moment_ago_is_waited_for() {
    let house = House::new().await;
    let name = house.deploy(FUNCTION).await;
    (0..4).for_each(|_| {
        house.fake.crash(&name, "exit code 7");
        house.fake.make_ready(&name);
    });
    house.fake.crash(&name, "exit code 7");
    house.until(&name, |status| status.ready().count() == 0).await;
    let call = house.call("/function/f");
    house.in_flight(1).await;
    house.fake.make_ready(&name);
    let answer = call.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_function_that_never_gets_ready_is_503_at_its_timeout() {
    let house = House::new().await;
    house.fake.hold(true);
    house.deploy(r#"{"service":"f","image":"i","annotations":{"flint.dev/timeout":"50ms"}}"#).await;
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[tokio::test]
async fn a_call_that_every_replica_refuses_waits_for_news() {
    let house = House::new().await;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    house.fake.set_address(Address::Tcp(gone));
    house.deploy(FUNCTION).await;
    let call = house.call("/function/f");
    house.in_flight(1).await;
    house.fake.set_address(Address::Tcp(upstream()));
    house.deploy(FUNCTION).await;
    let answer = call.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
