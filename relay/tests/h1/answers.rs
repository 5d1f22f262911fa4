//! How answers are written.

use std::io::{Read, Write};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use relay::{Body, ServeOptions};

use crate::harness::{Served, echo, hello, proxy, read_to, serve, upstream};

/// Answers as the path says.
fn odd_answers() -> Served {
    serve(ServeOptions::default(), || {
        |request: http::Request<Body>, _| async move {
            let mut response = Response::new(Body::from("hello"));
            match request.uri().path() {
                "/204" => *response.status_mut() = StatusCode::NO_CONTENT,
                "/304" => *response.status_mut() = StatusCode::NOT_MODIFIED,
                "/empty" => *response.body_mut() = Body::empty(),
                "/stream" => *response.body_mut() = pieces(&["he", "", "llo"], None),
                "/trailers" => {
                    *response.body_mut() = pieces(&["hello"], Some(("x-sum", "5")));
                }
                "/close" => {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert("connection", close);
                }
                "/framed" => {
                    let headers = response.headers_mut();
                    headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
                    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("99"));
                }
                _ => (),
            }
            response
        }
    })
}

fn pieces(data: &[&'static str], trailer: Option<(&'static str, &'static str)>) -> Body {
    let mut frames: Vec<_> =
        data.iter().map(|data| http_body::Frame::data((*data).into())).collect();
    if let Some((name, value)) = trailer {
        let mut trailers = HeaderMap::new();
        trailers.insert(name, HeaderValue::from_static(value));
        frames.push(http_body::Frame::trailers(trailers));
    }
    let frames = frames.into_iter().map(Ok::<_, std::convert::Infallible>);
    Body::boxed(http_body_util::StreamBody::new(futures_util::stream::iter(frames)))
}

/// Sends a request and one after it on the same connection. Gives the first answer without its
/// date, and whether the second was answered as well.
fn ask(served: &Served, first_line: &str, headers: &str) -> (String, bool) {
    let mut stream = served.connect();
    let request = format!("{first_line}\r\nHost: a\r\n{headers}\r\n");
    let next = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(format!("{request}{next}").as_bytes()).expect("open");
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("a proper end");
    let mut answers: Vec<_> = all.split("HTTP/1.1 ").skip(1).collect();
    let again = answers.len() == 2;
    let first = answers.remove(0).split("\r\n").filter(|line| !line.starts_with("date: "));
    (first.collect::<Vec<_>>().join("|"), again)
}

#[test]
fn lengths_are_told_as_the_client_understands_them() {
    let served = odd_answers();
    for (line, headers, expected, again) in [
        ("GET / HTTP/1.1", "", "200 OK|content-length: 5||hello", true),
        ("HEAD / HTTP/1.1", "", "200 OK|content-length: 5||", true),
        ("GET /empty HTTP/1.1", "", "200 OK|content-length: 0||", true),
        ("GET /204 HTTP/1.1", "", "204 No Content||", true),
        ("GET /304 HTTP/1.1", "", "304 Not Modified||", true),
        ("GET /framed HTTP/1.1", "", "200 OK|content-length: 5||hello", true),
        ("GET /stream HTTP/1.1", "", "200 OK|transfer-encoding: chunked||2|he|3|llo|0||", true),
        ("HEAD /stream HTTP/1.1", "", "200 OK||", true),
        ("GET /stream HTTP/1.0", "", "200 OK|connection: close||hello", false),
        (
            "GET /stream HTTP/1.0",
            "Connection: keep-alive\r\n",
            "200 OK|connection: close||hello",
            false,
        ),
        ("GET / HTTP/1.0", "", "200 OK|connection: close|content-length: 5||hello", false),
        (
            "GET / HTTP/1.0",
            "Connection: keep-alive\r\n",
            "200 OK|connection: keep-alive|content-length: 5||hello",
            true,
        ),
        (
            "GET / HTTP/1.1",
            "Connection: close\r\n",
            "200 OK|connection: close|content-length: 5||hello",
            false,
        ),
        ("GET /close HTTP/1.1", "", "200 OK|connection: close|content-length: 5||hello", false),
        (
            "GET /trailers HTTP/1.1",
            "TE: trailers\r\n",
            "200 OK|transfer-encoding: chunked||5|hello|0|x-sum: 5||",
            true,
        ),
        ("GET /trailers HTTP/1.1", "", "200 OK|transfer-encoding: chunked||5|hello|0||", true),
    ] {
        let answer = ask(&served, line, headers);
        assert_eq!(answer, (expected.to_owned(), again), "{line} {headers}");
    }
    served.end();
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let served = serve(ServeOptions::default(), echo);
    let mut stream = served.connect();
    let mut all = String::new();
    for number in 0..50 {
        all += &format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{number:02}");
        // Some clients end a body with a line end.
        all += if number % 7 == 0 { "\r\n" } else { "" };
    }
    stream.write_all(all.as_bytes()).expect("open");
    for number in 0..50 {
        let answer = read_to(&mut stream, &format!("\r\n\r\n{number:02}")).expect("an answer");
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1, "{answer}");
    }
    stream.write_all(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n").expect("open");
    read_to(&mut stream, "HTTP/1.1 400 ").expect("only one such line is passed over");
    served.end();
}

#[test]
fn a_request_is_the_same_however_it_comes() {
    let request = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4;x\r\nabcd\r\n1\r\ne\r\n0\r\nA: b\r\n\r\n";
    let served = serve(ServeOptions::default(), || {
        |request: http::Request<Body>, _| async {
            let whole = request.into_body().collect().await.expect("a body");
            Response::new(Body::full(whole.to_bytes()))
        }
    });
    for at in 1..request.len() {
        let mut stream = served.connect();
        stream.set_nodelay(true).expect("a socket");
        stream.write_all(&request.as_bytes()[..at]).expect("open");
        // Both parts may come together all the same, which is fine as well.
        std::thread::sleep(Duration::from_millis(1));
        stream.write_all(&request.as_bytes()[at..]).expect("open");
        read_to(&mut stream, "abcde").expect("an answer");
    }
    served.end();
}

#[test]
fn a_short_answer_goes_out_in_one_piece() {
    let target = upstream(|_, mut stream| {
        while read_to(&mut stream, "\r\n\r\n").is_some() {
            let answer =
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
            stream.write_all(answer.as_bytes()).expect("open");
        }
    });
    for served in [serve(ServeOptions::default(), hello), proxy(ServeOptions::default(), target)] {
        let mut stream = served.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("open");
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).expect("an answer");
        let text = String::from_utf8_lossy(&buffer[..read]);
        assert!(text.ends_with("hello") || text.ends_with("2\r\nok\r\n0\r\n\r\n"), "{text}");
        drop(stream);
        served.end();
    }
}

#[test]
fn an_answer_that_breaks_its_word_is_cut_off() {
    let served = serve(ServeOptions::default(), || {
        |request: http::Request<Body>, _| {
            let body = match request.uri().path() {
                "/long" => pieces(&["hello", "more"], None),
                _ => pieces(&["hel"], None),
            };
            let mut response = Response::new(body);
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("5"));
            std::future::ready(response)
        }
    });
    for path in ["/long", "/short"] {
        let mut stream = served.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("open");
        let error = stream.read_to_end(&mut Vec::new()).expect_err("no proper end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{path}");
    }
    served.end();
}
