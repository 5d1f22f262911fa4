//! The end of a server.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use http::Response;
use relay::{Body, Listener, ServeOptions, Trigger};

use crate::harness::{PATIENCE, Tell, read_all, read_to, serve, told};

#[test]
fn draining_lets_calls_finish_and_cuts_what_is_left() {
    let (asked, asks) = mpsc::channel();
    let (sender, dropped) = mpsc::channel();
    let options =
        ServeOptions { drain_timeout: Duration::from_millis(300), ..ServeOptions::default() };
    let served = serve(options, move || {
        let (asked, sender) = (asked.clone(), sender.clone());
        move |_, _| {
            let guard = Tell(sender.clone());
            asked.send(()).expect("a listener");
            async move {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    let mut idle = served.connect();
    let mut busy = served.connect();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    asks.recv_timeout(PATIENCE).expect("a call");
    served.trigger.drain();
    assert_eq!(read_all(&mut idle), "");
    assert_eq!(read_all(&mut busy), "");
    dropped.recv_timeout(PATIENCE).expect("the call is over");
    assert!(served.threads.join());
}

/// Reads the answer, if there is one, to the end of the connection.
fn answer(stream: &mut TcpStream) -> String {
    read_to(stream, "hello").expect("an answer") + &read_all(stream)
}

#[test]
fn whoever_waits_to_be_accepted_is_answered() {
    let address = "127.0.0.1:0".parse().expect("an address");
    let mut listeners = Listener::bind_tcp(address, 1).expect("a port");
    let address = listeners[0].local_addr().expect("bound");
    // All of them before anybody accepts, some with a request and some without.
    let mut early: Vec<_> =
        (0..20).map(|_| TcpStream::connect(address).expect("a queue")).collect();
    for stream in early.iter_mut().take(10) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    }
    let (trigger, shutdown) = relay::shutdown();
    trigger.drain();
    let listener = listeners.pop().expect("one");
    let threads = relay::threads::start(vec![listener], move |listener| {
        let shutdown = shutdown.clone();
        async move {
            let listener = Listener::from_tcp(listener).expect("a listener");
            let options = ServeOptions::default();
            relay::serve(listener, options, shutdown, crate::harness::hello()).await;
        }
    })
    .expect("threads");
    for stream in early.iter_mut().skip(10) {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    }
    for stream in &mut early {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let answer = answer(stream);
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert!(threads.join());
    assert!(TcpStream::connect(address).is_err(), "it listens no more");
}

#[test]
fn a_call_in_flight_is_answered_and_its_connection_ends() {
    let (asked, asks) = mpsc::channel();
    let served = serve(ServeOptions::default(), move || {
        let asked = asked.clone();
        move |_, _| {
            let (go, wait) = tokio::sync::oneshot::channel();
            asked.send(go).expect("a listener");
            async move {
                wait.await.expect("a word");
                Response::new(Body::from("hello"))
            }
        }
    });
    let mut stream = served.connect();
    // The second request is there already when the first is answered.
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
    stream.write_all(request.as_bytes()).expect("open");
    let go = told(&asks);
    let mut idle = served.connect();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
    told(&asks).send(()).expect("it waits");
    read_to(&mut idle, "hello").expect("an answer");
    served.trigger.drain();
    assert_eq!(read_all(&mut idle), "");
    go.send(()).expect("it waits");
    let answer = answer(&mut stream);
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(served.threads.join());
}

#[test]
fn a_server_that_is_replaced_answers_once_more_on_every_connection() {
    answers_once_more_when_told(Trigger::leave);
}

#[test]
fn a_server_that_ends_gently_answers_once_more_on_every_connection() {
    answers_once_more_when_told(Trigger::part);
}

fn answers_once_more_when_told(tell: fn(&Trigger)) {
    let served = serve(ServeOptions::default(), crate::harness::hello);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut used = served.connect();
    used.write_all(request).expect("open");
    let first = read_to(&mut used, "hello").expect("an answer");
    assert!(!first.contains("connection: close"), "{first}");
    let mut unused = served.connect();
    unused.write_all(request).expect("open");
    read_to(&mut unused, "hello").expect("an answer");
    tell(&served.trigger);
    // The listening socket is closed when the signal is there; what was accepted goes on.
    while TcpStream::connect(("127.0.0.1", served.port)).is_ok() {
        std::thread::yield_now();
    }
    used.write_all(request).expect("still open");
    let last = answer(&mut used);
    assert!(last.contains("connection: close"), "{last}");
    assert_eq!(read_all(&mut unused), "", "it is closed in the end");
    assert!(served.threads.join());
}
