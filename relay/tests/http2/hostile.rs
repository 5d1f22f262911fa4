//! What slow, broken and hostile clients meet.

use std::io::{Read, Write as _};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use relay::{Body, Peer, ServeOptions};
use tokio::time::Instant;

use crate::harness::{PATIENCE, ask, get, run, serve};

const QUICK: Duration = Duration::from_millis(200);

async fn hello(_: Request<Body>, _: Peer) -> Response<Body> {
    Response::new(Body::from("hello"))
}

/// Tells when it is dropped.
struct Tell(mpsc::Sender<()>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// A frame's type and payload.
fn read_frame(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).expect("a frame");
    let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
    stream.read_exact(&mut payload).expect("a frame");
    (head[3], payload)
}

/// A body without an end.
fn endless() -> Body {
    let frame = || Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b'x'; 8192])));
    Body::boxed(StreamBody::new(futures_util::stream::repeat_with(frame)))
}

#[test]
fn half_a_preface_and_idle_connections_are_closed() {
    let options =
        ServeOptions { header_timeout: QUICK, idle_timeout: QUICK, ..ServeOptions::default() };
    let served = serve(options, || hello);
    let mut stream = served.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n").expect("open");
    assert_eq!(stream.read(&mut [0; 9]).expect("a proper end"), 0);

    // A client that keeps silent after the preface, and does not understand the goodbye.
    let mut stream = served.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("open");
    let mut frames = Vec::new();
    let _ = stream.read_to_end(&mut frames);
    assert!(frames.windows(3).any(|bytes| bytes == [8, 7, 0]), "no goodbye in {frames:?}");

    run(async {
        let (client, connection) = served.handshake().await;
        let connection = tokio::task::spawn_local(connection);
        assert_eq!(ask(&client, get("/"), None).await.expect("an answer").text, "hello");
        connection.await.expect("a task").expect("a proper end");
    });
    served.end();
}

#[test]
fn a_client_that_does_not_understand_the_goodbye_does_not_hold_up_the_end() {
    let options = ServeOptions {
        header_timeout: QUICK,
        drain_timeout: Duration::from_secs(3600),
        ..ServeOptions::default()
    };
    let served = serve(options, || hello);
    let mut stream = served.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("open");
    stream.read_exact(&mut [0; 9]).expect("settings");
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        served.end();
        ended.send(())
    });
    end.recv_timeout(PATIENCE).expect("it ends");
}

#[test]
fn heads_and_targets_have_limits() {
    let options = ServeOptions { max_uri_bytes: 100, ..ServeOptions::default() };
    let served = serve(options, || hello);
    run(async {
        let client = served.client().await;
        let long = get(&format!("/{}", "x".repeat(100)));
        assert_eq!(ask(&client, long, None).await.expect("an answer").status, 414);
        let mut large = get("/");
        for n in 0..10 {
            let name: http::HeaderName = format!("x-{n}").parse().expect("a name");
            large.headers_mut().insert(name, "y".repeat(8 << 10).parse().expect("a value"));
        }
        assert_eq!(ask(&client, large, None).await.expect("an answer").status, 431);
        let connect = Request::connect("test:1").body(()).expect("a request");
        assert_eq!(ask(&client, connect, None).await.expect("an answer").status, 501);
        let mut other = get("/");
        other.headers_mut().insert("host", "other".parse().expect("a value"));
        assert_eq!(ask(&client, other, None).await.expect("an answer").status, 400);
        assert_eq!(ask(&client, get("/"), None).await.expect("an answer").status, 200);
    });
    served.end();
}

#[test]
fn no_more_streams_than_allowed() {
    let (asked, asks) = mpsc::channel();
    let served = serve(ServeOptions::default(), move || {
        let asked = asked.clone();
        move |_, _| {
            asked.send(()).expect("a listener");
            std::future::pending()
        }
    });
    let mut stream = served.connect();
    // GET http://a/ without a body.
    let head = [0x82, 0x86, 0x84, 0x41, 1, b'a'];
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for number in 0..140u32 {
        frames.extend_from_slice(&[0, 0, head.len() as u8, 1, 5]);
        frames.extend_from_slice(&(2 * number + 1).to_be_bytes());
        frames.extend_from_slice(&head);
    }
    stream.write_all(&frames).expect("open");
    let mut refused = 0;
    while refused < 12 {
        let (kind, payload) = read_frame(&mut stream);
        assert_ne!(kind, 7, "no goodbye");
        refused += usize::from(kind == 3 && payload == [0, 0, 0, 7]);
    }
    assert_eq!(asks.iter().take(128).count(), 128);
    assert!(asks.try_recv().is_err(), "that is all");
    drop(served);
}

#[test]
fn requests_that_are_taken_back_at_once_end_the_connection() {
    let served = serve(ServeOptions::default(), || {
        async |request: Request<Body>, _| match request.uri().path() {
            "/wait" => std::future::pending().await,
            _ => Response::new(Body::from("hello")),
        }
    });
    run(async {
        let other = served.client().await;
        let (client, connection) = served.handshake().await;
        let connection = tokio::task::spawn_local(connection);
        let attack = async {
            loop {
                let mut client = client.clone().ready().await?;
                let (_, mut first) = client.send_request(get("/wait"), false)?;
                let mut client = client.ready().await?;
                let (_, mut second) = client.send_request(get("/wait"), false)?;
                // When this is answered the server has seen the others.
                ask(&client, get("/"), None).await?;
                first.send_reset(h2::Reason::CANCEL);
                second.send_reset(h2::Reason::CANCEL);
            }
        };
        let ended: Result<(), h2::Error> = attack.await;
        ended.expect_err("it is thrown out");
        assert_eq!(ask(&other, get("/"), None).await.expect("an answer").text, "hello");
        let _ = connection.await.expect("a task");
    });
    served.end();
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    for deadline in [None, Some(Duration::from_millis(300))] {
        let (sender, dropped) = mpsc::channel();
        let options = ServeOptions { header_timeout: QUICK, ..ServeOptions::default() };
        let served = serve(options, move || {
            let sender = sender.clone();
            move |_, _| {
                let mut body = endless().with_guard(Tell(sender.clone()));
                if let Some(limit) = deadline {
                    body = body.with_deadline(Instant::now() + limit);
                }
                std::future::ready(Response::new(body))
            }
        });
        run(async {
            let mut client = served.client().await;
            let (answer, _) = client.send_request(get("/"), true).expect("open");
            let mut body = answer.await.expect("an answer").into_body();
            let error = loop {
                // Nothing is released, so the server may send no more than the first window.
                match body.data().await {
                    Some(Ok(_)) => (),
                    Some(Err(error)) => break error,
                    None => panic!("it has no end"),
                }
            };
            assert!(error.is_reset(), "{error}");
        });
        dropped.recv_timeout(PATIENCE).expect("the call is over");
        served.end();
    }
}

#[test]
fn what_is_no_http_2_ends_only_its_own_connection() {
    let served = serve(ServeOptions::default(), || hello);
    for bad in [&b"nonsense, and more of it"[..], &[0xff; 64], b"\0\0\0\x01\x05\0\0\0\0"] {
        let mut stream = served.connect();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("open");
        stream.write_all(bad).expect("open");
        let ended = stream.read_to_end(&mut Vec::new());
        let silent = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!silent, "{bad:?} is an error");
    }
    run(async {
        let client = served.client().await;
        assert_eq!(ask(&client, get("/"), None).await.expect("an answer").text, "hello");
    });
    served.end();
}
