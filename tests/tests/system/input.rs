//! Every bad input with its status.

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::raw;

/// Every system route, with a method that it takes.
const ROUTES: [(&str, &str); 18] = [
    ("GET", "/system/functions"),
    ("POST", "/system/functions"),
    ("PUT", "/system/functions"),
    ("DELETE", "/system/functions"),
    ("GET", "/system/function/x"),
    ("POST", "/system/scale-function/x"),
    ("GET", "/system/secrets"),
    ("POST", "/system/secrets"),
    ("PUT", "/system/secrets"),
    ("DELETE", "/system/secrets"),
    ("GET", "/system/namespaces"),
    ("POST", "/system/namespace/"),
    ("GET", "/system/namespace/x"),
    ("DELETE", "/system/namespace/x"),
    ("GET", "/system/logs?name=x"),
    ("GET", "/system/info"),
    ("GET", "/system/nothing"),
    ("GET", "/ui/"),
];

#[tokio::test]
async fn every_system_route_asks_for_the_password() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    let password = gateway.password()?;
    for (method, path) in ROUTES {
        let method: Method = method.parse()?;
        let send = async |user: Option<(&str, &str)>| -> Result<StatusCode> {
            let request = client.request(method.clone(), path).body("{}");
            let request = match user {
                Some((user, password)) => request.basic_auth(user, Some(password)),
                None => request,
            };
            let response = request.send().await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED {
                assert_eq!(response.headers()["www-authenticate"], r#"Basic realm="Restricted""#);
            }
            Ok(status)
        };
        let no = StatusCode::UNAUTHORIZED;
        assert_eq!(send(None).await?, no, "{method} {path} without credentials");
        assert_eq!(send(Some(("admin", "wrong"))).await?, no, "{method} {path}");
        assert_eq!(send(Some(("root", &password))).await?, no, "{method} {path}");
        assert_ne!(send(Some(("admin", &password))).await?, no, "{method} {path}");
    }
    assert_eq!(client.request(Method::GET, "/healthz").send().await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    let long = "a".repeat(64);
    let cases = [
        ("{", "body"),
        ("[]", "body"),
        ("", "body"),
        (r#"{"image":"x"}"#, "service"),
        (r#"{"service":"x"}"#, "image"),
        (r#"{"service":"x","image":"i","envVars":{"a":1}}"#, "envVars.a"),
        (r#"{"service":"x","image":"i","labels":[]}"#, "labels"),
        (r#"{"service":"x","image":"i","limits":{"memory":"much"}}"#, "limits.memory"),
        (r#"{"service":"x","image":"i","secrets":["none"]}"#, "secrets"),
        (r#"{"service":"x","image":"i","namespace":"nowhere"}"#, "namespace"),
        (r#"{"service":"../x","image":"i"}"#, "service"),
        (&format!(r#"{{"service":"{long}","image":"i"}}"#), "service"),
    ];
    for (body, field) in cases {
        let response = client
            .request(Method::POST, "/system/functions")
            .basic_auth("admin", Some(gateway.password()?))
            .body(body.to_owned())
            .send()
            .await?;
        let status = response.status();
        let text = response.text().await?;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {text}");
        assert!(text.starts_with(field), "{body}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_there_is_409() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    let function = json!({ "service": "x", "image": "i" });
    let missing = [
        (Method::PUT, "/system/functions", Some(function)),
        (Method::DELETE, "/system/functions", Some(json!({ "functionName": "x" }))),
        (Method::GET, "/system/function/x", None),
        (Method::POST, "/system/scale-function/x", Some(json!({ "replicas": 1 }))),
        (Method::PUT, "/system/secrets", Some(json!({ "name": "x", "value": "y" }))),
        (Method::DELETE, "/system/secrets", Some(json!({ "name": "x" }))),
        (Method::GET, "/system/namespace/x", None),
        (Method::DELETE, "/system/namespace/x", None),
        (Method::GET, "/system/logs?name=x", None),
        (Method::GET, "/system/telemetry", None),
    ];
    for (method, path, body) in missing {
        let (status, text) = client.system(method.clone(), path, body).await?;
        assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {text}");
    }
    let secret = json!({ "name": "x", "value": "y" });
    let create =
        async || client.system(Method::POST, "/system/secrets", Some(secret.clone())).await;
    assert_eq!(create().await?.0, StatusCode::ACCEPTED);
    assert_eq!(create().await?.0, StatusCode::CONFLICT);
    let (_, list) = client.system(Method::GET, "/system/secrets", None).await?;
    assert_eq!(list, r#"[{"name":"x","namespace":"openfaas-fn"}]"#);
    let image = json!({ "service": "x", "image": "127.0.0.1:1/none:latest" });
    let (status, text) = client.system(Method::POST, "/system/functions", Some(image)).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(text.contains("127.0.0.1:1/none"), "{text}");
    Ok(())
}

#[tokio::test]
async fn odd_methods_and_bodies_have_their_status() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    for (method, path) in [("PATCH", "/system/functions"), ("GET", "/system/scale-function/x")] {
        let (status, _) = client.system(method.parse()?, path, None).await?;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
    let huge = json!({ "name": "x", "value": "y".repeat(3 << 20) });
    let (status, text) = client.system(Method::POST, "/system/secrets", Some(huge)).await?;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    let scale = json!({ "replicas": -1 });
    let (status, text) =
        client.system(Method::POST, "/system/scale-function/x", Some(scale)).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    Ok(())
}

#[test]
fn raw_bytes_are_answered_or_refused() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let big_header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(2 << 20));
    let cases = [
        (get("/function/x/../../system/functions"), 404),
        (get("/function/../system/functions"), 400),
        (get("/function/%2e%2e/system/functions"), 400),
        (get("/function/a%2Fb"), 400),
        (get("/function/"), 400),
        (get(&format!("/function/{}", "a".repeat(64))), 400),
        (get("/function/none"), 404),
        (get("/nothing"), 401),
        (get("//system/functions"), 401),
        (big_header, 431),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 307),
        ("nonsense\r\n\r\n".to_owned(), 400),
    ];
    for (request, expected) in cases {
        let answer = raw::exchange(gateway.port(), request.as_bytes())?;
        let head = request.lines().next().unwrap_or_default();
        assert_eq!(raw::status(&answer), expected, "{}: {answer}", &head[..head.len().min(80)]);
    }
    Ok(())
}

#[test]
fn a_bad_configuration_does_not_start() -> Result<()> {
    for (variable, value) in [
        ("read_timeout", "soon"),
        ("port", "http"),
        ("basic_auth", "maybe"),
        ("FAAS_PROVIDER", "x"),
    ] {
        let output = std::process::Command::new(system::binary("faas-gateway"))
            .env(variable, value)
            .output()?;
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{variable}={value}");
        assert!(text.contains(variable) && text.contains(value), "{text}");
    }
    Ok(())
}
