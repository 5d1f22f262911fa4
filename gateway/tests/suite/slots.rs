//! Slots, the calls that wait for them, and calls that are sent again.

use provider::{Address, Provider, Target};

use crate::house::House;
use crate::upstream::{Reply, Upstream, not_taken, ok};

/// A function whose replicas take one call at a time.
const ONE_AT_A_TIME: &str = r#"{"service":"f","image":"i","envVars":{"max_inflight":"1"}}"#;

async fn house(upstream: &Upstream) -> House {
    let house = House::new().await;
    house.fake.set_address(Address::Tcp(upstream.address));
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_wait_for_a_slot_in_the_order_in_which_they_came() {
    let upstream = Upstream::waiting();
    let house = house(&upstream).await;
    house.deploy(ONE_AT_A_TIME).await;
    let mut calls = Vec::new();
    for number in 0..6 {
        calls.push(house.call(&format!("/function/f/{number}")));
        house.in_flight(number + 1).await;
        house.waiting(number as usize).await;
    }
    upstream.let_go(6);
    for call in calls {
        let answer = call.await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
    }
    assert_eq!(upstream.most(), 1, "one at a time");
    let order: Vec<_> = upstream.asked(6).into_iter().map(|asked| asked.line).collect();
    let wanted: Vec<_> = (0..6).map(|n| format!("GET /{n} HTTP/1.1")).collect();
    assert_eq!(order, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_takes_calls_that_wait() {
    let upstream = Upstream::waiting();
    let house = house(&upstream).await;
    let name = house.deploy(ONE_AT_A_TIME).await;
    let calls: Vec<_> = (0..3).map(|_| house.call("/function/f")).collect();
    house.waiting(2).await;
    house.fake.scale(&name, Target::Replicas(3)).await.unwrap();
    upstream.asked(3);
    upstream.let_go(3);
    for call in calls {
        assert!(call.await.unwrap().ends_with("done"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_429_and_says_when_to_come_again() {
    let upstream = Upstream::waiting();
    let house = house(&upstream).await;
    let body = r#"{"service":"f","image":"i","envVars":{"max_inflight":"1"},
        "annotations":{"flint.dev/max-queue":"1"}}"#;
    house.deploy(body).await;
    let taken = house.call("/function/f");
    upstream.asked(1);
    let waits = house.call("/function/f");
    house.waiting(1).await;
    let refused = house.call("/function/f").await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: "), "{refused}");
    assert!(refused.contains("flint.dev/max-queue"), "{refused}");
    upstream.let_go(2);
    for call in [taken, waits] {
        assert!(call.await.unwrap().ends_with("done"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_waits_too_long_is_504_and_names_the_hop() {
    let upstream = Upstream::waiting();
    let house = house(&upstream).await;
    let body = r#"{"service":"f","image":"i","envVars":{"max_inflight":"1"},
        "annotations":{"flint.dev/timeout":"50ms"}}"#;
    let name = house.deploy(body).await;
    let replica = house.fake.status(&name).unwrap().replicas[0].id.clone();
    let taken = house.calls.counter(&replica).enter();
    let late = house.call("/function/f").await.unwrap();
    assert!(late.starts_with("HTTP/1.1 504") && late.contains("gateway hop"), "{late}");
    assert!(late.contains("no free slot on 1 replicas within 50 ms"), "{late}");
    drop(taken);
    upstream.let_go(1);
    assert!(house.call("/function/f").await.unwrap().ends_with("done"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_leaves_the_queue() {
    let upstream = Upstream::waiting();
    let house = house(&upstream).await;
    house.deploy(ONE_AT_A_TIME).await;
    let taken = house.call("/function/f/first");
    upstream.asked(1);
    let gone = house.open("/function/f/gone");
    house.waiting(1).await;
    let waits = house.call("/function/f/second");
    house.waiting(2).await;
    drop(gone);
    house.waiting(1).await;
    upstream.let_go(2);
    for call in [taken, waits] {
        assert!(call.await.unwrap().ends_with("done"));
    }
    let lines: Vec<_> = upstream.asked(2).into_iter().map(|asked| asked.line).collect();
    assert_eq!(lines, ["GET /first HTTP/1.1", "GET /second HTTP/1.1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_not_taken_is_sent_again_with_its_body() {
    let upstream = Upstream::new(|number, asked| match number {
        1 | 2 => not_taken(),
        _ => Reply::Bytes(ok(&asked.body)),
    });
    let house = house(&upstream).await;
    house.deploy(r#"{"service":"f","image":"i"}"#).await;
    let answer = house.post("/function/f", "hello").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    let bodies: Vec<_> = upstream.asked(3).into_iter().map(|asked| asked.body).collect();
    assert_eq!(bodies, ["hello"; 3]);
}

/// What a watchdog says whose function does not take connections.
const UNREACHABLE: &str = "HTTP/1.1 500 Internal Server Error\r\nX-Faas-Not-Taken: 1\r\n\
                           Content-Length: 4\r\n\r\nnone";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_was_not_reached_is_tried_again_but_not_for_ever() {
    for (failures, status) in [(2, "200"), (9, "500")] {
        let upstream = Upstream::new(move |number, _| match number {
            number if number <= failures => Reply::Bytes(UNREACHABLE.to_owned()),
            _ => Reply::Bytes(ok("done")),
        });
        let house = house(&upstream).await;
        house.deploy(r#"{"service":"f","image":"i"}"#).await;
        let answer = house.post("/function/f", "hello").await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(upstream.asked(3).len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_functions_own_429_is_passed_on() {
    let answer = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 3\r\n\r\nown";
    let upstream = Upstream::new(move |_, _| Reply::Bytes(answer.to_owned()));
    let house = house(&upstream).await;
    house.deploy(r#"{"service":"f","image":"i"}"#).await;
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 429") && answer.ends_with("own"), "{answer}");
    assert_eq!(upstream.asked(1).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_done_twice_is_sent_again_when_a_replica_breaks() {
    let upstream = Upstream::new(|number, _| match number {
        1 => Reply::Break,
        _ => Reply::Bytes(ok("fine")),
    });
    let house = house(&upstream).await;
    let name = house.deploy(r#"{"service":"f","image":"i"}"#).await;
    house.fake.scale(&name, Target::Replicas(2)).await.unwrap();
    house.until(&name, |status| status.ready().count() == 2).await;
    let answer = house.call("/function/f").await.unwrap();
    assert!(answer.ends_with("fine"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_not_be_done_twice_is_502_and_not_sent_again() {
    let upstream = Upstream::new(|_, _| Reply::Break);
    let house = house(&upstream).await;
    let name = house.deploy(r#"{"service":"f","image":"i"}"#).await;
    house.fake.scale(&name, Target::Replicas(2)).await.unwrap();
    house.until(&name, |status| status.ready().count() == 2).await;
    let answer = house.post("/function/f", "x").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_eq!(upstream.asked(1).len(), 1);
}
