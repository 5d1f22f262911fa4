//! Switches of protocols.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use relay::ServeOptions;

use crate::harness::{Served, proxy, read_all, read_to, told, upstream};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: talk\r\n\r\n";

/// An upstream that switches, says `hi`, and then says everything twice until the client ends;
/// then it says goodbye. What it was asked is sent to `heads`.
fn talkative(heads: mpsc::Sender<String>, options: ServeOptions) -> Served {
    let target = upstream(move |_, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head");
        heads.send(head).expect("a listener");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                      Upgrade: talk\r\nX-Own: 1\r\n\r\nhi";
        stream.write_all(answer.as_bytes()).expect("open");
        let mut byte = [0];
        while let Ok(1) = stream.read(&mut byte) {
            stream.write_all(&[byte[0], byte[0]]).expect("open");
        }
        let _ = stream.write_all(b"bye");
    });
    proxy(options, target)
}

#[test]
fn bytes_go_both_ways_and_each_side_ends_for_itself() {
    let (sender, heads) = mpsc::channel();
    let served = talkative(sender, ServeOptions::default());
    let mut stream = served.connect();
    // What follows the head is of the new protocol already.
    stream.write_all(format!("{ASK}abc").as_bytes()).expect("open");
    let answer = read_to(&mut stream, "\r\n\r\n").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{answer}");
    for line in ["connection: Upgrade", "upgrade: talk", "x-own: 1"] {
        assert!(answer.contains(line), "no {line} in {answer}");
    }
    assert!(!answer.contains("content-length") && !answer.contains("transfer-"), "{answer}");
    let head = told(&heads).to_ascii_lowercase();
    assert!(head.contains("connection: upgrade") && head.contains("upgrade: talk"), "{head}");
    read_to(&mut stream, "hiaabbcc").expect("its words");
    stream.write_all(b"d").expect("open");
    read_to(&mut stream, "dd").expect("its words");
    stream.shutdown(Shutdown::Write).expect("open");
    assert_eq!(read_all(&mut stream), "bye");
    served.end();
}

#[test]
fn nobody_is_switched_unasked() {
    let target = upstream(|_, mut stream| {
        let head = read_to(&mut stream, "\r\n\r\n").expect("a head").to_ascii_lowercase();
        assert!(!head.contains("upgrade"), "{head}");
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        stream.write_all(answer).expect("open");
    });
    let served = proxy(ServeOptions::default(), target);
    for ask in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ] {
        let answer = served.ask(ask.as_bytes());
        assert!(answer.contains("switched protocols unasked"), "{ask} {answer}");
    }
    served.end();
}

#[test]
fn an_upstream_may_decline() {
    let target = upstream(|_, mut stream| {
        while read_to(&mut stream, "\r\n\r\n").is_some() {
            stream.write_all(crate::harness::OK).expect("open");
        }
    });
    let served = proxy(ServeOptions::default(), target);
    let mut stream = served.connect();
    for _ in 0..2 {
        stream.write_all(ASK.as_bytes()).expect("open");
        let answer = read_to(&mut stream, "\r\n\r\nok").expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    drop(stream);
    served.end();
}

#[test]
fn a_switched_connection_is_cut_when_the_time_to_drain_is_over() {
    let (sender, heads) = mpsc::channel();
    let served = talkative(
        sender,
        ServeOptions { drain_timeout: Duration::from_millis(200), ..ServeOptions::default() },
    );
    let mut stream = served.connect();
    stream.write_all(ASK.as_bytes()).expect("open");
    read_to(&mut stream, "\r\n\r\nhi").expect("an answer");
    told(&heads);
    served.trigger.drain();
    stream.write_all(b"a").expect("open");
    read_to(&mut stream, "aa").expect("its words");
    assert_eq!(read_all(&mut stream), "");
    assert!(served.threads.join());
}
