//! gRPC calls through the gateway's data path, to a function that speaks HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use provider::Address;
use relay::grpc;
use tokio::net::{TcpListener, TcpStream};

use crate::house::House;

/// Echoes a call's body, and what time it has left, with a status; `/a.B/Hang` never ends.
async fn echo(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let left = grpc::timeout(request.headers()).expect("a timeout");
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .header("x-path", request.uri().path())
        .header("x-left-ms", left.as_millis() as u64);
    let mut sender = respond.send_response(head.body(()).unwrap(), false).unwrap();
    if request.uri().path() == "/a.B/Hang" {
        let _ = std::future::poll_fn(|cx| sender.poll_reset(cx)).await;
        return;
    }
    let mut body = request.into_body();
    while let Some(Ok(data)) = body.data().await {
        sender.send_data(data, false).unwrap();
    }
    sender.send_trailers(status("0")).unwrap();
}

fn status(code: &'static str) -> HeaderMap {
    let name = HeaderName::from_static("grpc-status");
    HeaderMap::from_iter([(name, HeaderValue::from_static(code))])
}

/// A gateway with a function `f` that speaks HTTP/2, and a client of it.
async fn house() -> (House, h2::client::SendRequest<Bytes>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(echo(request, respond));
                }
            });
        }
    });
    let house = House::new().await;
    house.fake.set_address(Address::Tcp(address));
    let name = house.deploy(r#"{"service":"f","image":"a/b"}"#).await;
    house.until(&name, |status| status.ready().count() == 1).await;
    let stream = TcpStream::connect(house.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    (house, client)
}

/// Calls, and gives head, body and trailers.
async fn call(
    client: &h2::client::SendRequest<Bytes>,
    path: &str,
    headers: &[(&str, &str)],
) -> (HeaderMap, Bytes, Option<HeaderMap>) {
    let mut request = Request::post(format!("http://gateway{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut sender) = client.send_request(request.body(()).unwrap(), false).unwrap();
    sender.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let (head, mut body) = answer.await.unwrap().into_parts();
    assert_eq!(head.status, 200);
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        bytes.extend_from_slice(&data.unwrap());
    }
    (head.headers, bytes.into(), body.trailers().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_reach_their_function_by_path_or_by_metadata() {
    let (_house, client) = house().await;
    let named: &[_] = &[("x-faas-function", "f")];
    for (path, headers) in [("/function/f/a.B/C", &[][..]), ("/a.B/C", named)] {
        let (head, body, trailers) = call(&client, path, headers).await;
        assert_eq!(
            (&head["x-path"], &body[..]),
            (&HeaderValue::from_static("/a.B/C"), &b"hello"[..])
        );
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
        assert!(head.contains_key("x-call-id"));
        let left: u64 = head["x-left-ms"].to_str().unwrap().parse().unwrap();
        assert!((1..=20_000).contains(&left), "{left} ms of 20 s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_gateway_are_a_status() {
    let (_house, client) = house().await;
    let (head, _, _) = call(&client, "/function/none/a.B/C", &[]).await;
    assert_eq!(
        (&head["grpc-status"], &head["x-faas-error"]),
        (&"12".parse().unwrap(), &"no_function".parse().unwrap())
    );
    let message = head["grpc-message"].to_str().unwrap();
    assert!(message.starts_with("function none.openfaas-fn not found"), "{message}");
    assert_eq!(head["content-type"], "application/grpc");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_own_deadline_ends_a_call() {
    let (house, client) = house().await;
    let hurry: &[_] = &[("grpc-timeout", "200m")];
    let (head, _, trailers) = call(&client, "/function/f/a.B/Hang", hurry).await;
    let left: u64 = head["x-left-ms"].to_str().unwrap().parse().unwrap();
    assert!(left <= 200, "{left}");
    assert_eq!(trailers.unwrap()["grpc-status"], "4");
    tokio::time::timeout(Duration::from_secs(30), house.in_flight(0)).await.unwrap();
}
