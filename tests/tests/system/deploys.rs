//! Deploys, updates and removals on a real engine.

use anyhow::{Result, ensure};
use reqwest::{Method, Response, StatusCode};
use serde_json::json;
use system::client::Client;
use system::gateway::Gateway;
use system::world::World;
use system::{image, on_each_backend, raw};

on_each_backend! {
    a_function_is_deployed_called_described_and_removed,
    a_function_is_confined,
    why_a_replica_ended_is_told,
    scaling_goes_up_down_to_zero_and_back,
    functions_reach_each_other_through_the_gateway,
    namespaces_keep_functions_apart,
    logs_are_lines_of_json,
    followed_logs_go_on,
}

async fn a_function_is_deployed_called_described_and_removed(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client
        .deploy(json!({ "service": "hello", "image": image, "envVars": { "VERSION": "1" } }))
        .await?;
    assert_eq!(client.call("hello/version").await?, (StatusCode::OK, "1".to_owned()));
    let odd = "/a%2Fb/../c;d//e?q=%20x&y=%2e";
    let request =
        format!("GET /function/hello{odd} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let answer = raw::exchange(gateway.port(), request.as_bytes())?;
    assert!(answer.ends_with(&format!("GET {odd}")), "the path travels byte for byte: {answer}");

    let (_, list) = client.system(Method::GET, "/system/functions", None).await?;
    let list: serde_json::Value = serde_json::from_str(&list)?;
    assert_eq!(list[0]["name"], "hello");
    assert_eq!(list[0]["invocationCount"], 2);
    assert_eq!(list[0]["labels"]["faas_function"], "hello");

    assert_eq!(client.remove("hello").await?.0, StatusCode::ACCEPTED);
    assert_eq!(client.call("hello").await?.0, StatusCode::NOT_FOUND);
    assert_eq!(client.remove("hello").await?.0, StatusCode::NOT_FOUND);
    assert_eq!(gateway.running()?, Vec::<String>::new(), "nothing runs any more");
    let replicas = gateway.state_dir().join("replicas");
    let left = std::fs::read_dir(&replicas).map_or(0, Iterator::count);
    assert_eq!(left, 0, "no file is left in {}", replicas.display());
    Ok(())
}

#[tokio::test]
async fn an_image_without_the_watchdog_is_served_over_tcp() -> Result<()> {
    let gateway = Gateway::start(&[])?;
    let client = Client::new(&gateway)?;
    client.deploy(json!({ "service": "bare", "image": image::bare_function()? })).await?;
    assert_eq!(client.call("bare/x").await?.1, "GET /x?");
    let status = client.status("bare").await?.unwrap_or_default();
    assert!(status["instances"][0]["address"]["tcp"].is_string(), "{status}");
    Ok(())
}

async fn a_function_is_confined(world: World) -> Result<()> {
    let World { gateway: _gateway, client, image } = world;
    let secret = json!({ "name": "key", "value": "hunter2" });
    client.system(Method::POST, "/system/secrets", Some(secret)).await?;
    client
        .deploy(json!({ "service": "safe", "image": image, "secrets": ["key"],
            "readOnlyRootFilesystem": true, "limits": { "memory": "64Mi", "cpu": "500m", "pids": "64" } }))
        .await?;
    assert_eq!(client.call("safe/file?path=/var/openfaas/secrets/key").await?.1, "hunter2");
    let writable = |path: &str| format!("safe/write?path={path}");
    assert_eq!(client.call(&writable("/tmp/x")).await?.0, StatusCode::OK);
    for path in ["/x", "/var/openfaas/secrets/key", "/etc/x"] {
        assert_eq!(client.call(&writable(path)).await?.0, StatusCode::FORBIDDEN, "{path}");
    }
    let (_, status) = client.call("safe/file?path=/proc/self/status").await?;
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line} not in {status}");
    }
    assert_eq!(client.call("safe/env?name=OPENFAAS_NAME").await?.1, "safe");
    assert_eq!(client.call("safe/env?name=OPENFAAS_NAMESPACE").await?.1, "openfaas-fn");
    Ok(())
}

/// How often a function runs out of memory until an engine must have told so.
const MAX_OOM_TRIES: u64 = 5;

async fn why_a_replica_ended_is_told(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client
        .deploy(json!({ "service": "hog", "image": image, "limits": { "memory": "32Mi" } }))
        .await?;
    let ended = |status: &serde_json::Value| {
        status["instances"][0]["lastExit"].as_str().is_some_and(|why| why.contains("out of memory"))
    };
    // An engine may miss why the kernel killed something, and then tells the exit code only. What we
    // run ourselves is seen the first time.
    let tries = if gateway.provider() == "process" { 1 } else { MAX_OOM_TRIES };
    for times in 1..=tries {
        let _ = client.call("hog/hog").await?;
        let is_back = |status: &serde_json::Value| {
            let restarts = status["instances"][0]["restarts"].as_u64();
            restarts >= Some(times) && status["availableReplicas"] == 1
        };
        let status = client.until("hog", "back", is_back).await?;
        if ended(&status) {
            break;
        }
        ensure!(times < tries, "it never was out of memory: {status:#}");
    }

    client
        .apply(&json!({ "service": "crash", "image": image, "envVars": { "CRASH": "1" } }))
        .await?;
    let status = client
        .until("crash", "crashing", |s| {
            s["reason"].as_str().is_some_and(|r| r.contains("exit code 1"))
        })
        .await?;
    assert_eq!(status["availableReplicas"], 0);
    let (code, body) = client.call("crash").await?;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    assert!(body.contains("exit code 1"), "{body}");
    Ok(())
}

async fn scaling_goes_up_down_to_zero_and_back(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client.deploy(json!({ "service": "many", "image": image })).await?;
    let scale = async |replicas: u32| {
        let body = json!({ "serviceName": "many", "replicas": replicas });
        client.system(Method::POST, "/system/scale-function/many", Some(body)).await
    };
    for replicas in [3, 1, 0] {
        assert_eq!(scale(replicas).await?.0, StatusCode::ACCEPTED);
        client
            .until("many", "scaled", |status| {
                status["replicas"] == replicas && status["availableReplicas"] == replicas
            })
            .await?;
    }
    let stopped = |status: &serde_json::Value| {
        let instances = status["instances"].as_array().map_or(&[][..], Vec::as_slice);
        instances.len() == 1 && instances[0]["state"] == "stopped"
    };
    client.until("many", "stopped, with one replica kept", stopped).await?;
    assert_eq!(gateway.running()?, Vec::<String>::new(), "nothing runs at zero");
    assert_eq!(client.call("many").await?.0, StatusCode::OK, "a call wakes it");
    Ok(())
}

async fn functions_reach_each_other_through_the_gateway(world: World) -> Result<()> {
    let World { gateway: _gateway, client, image } = world;
    for (name, version) in [("front", "f"), ("back", "b")] {
        client
            .deploy(json!({ "service": name, "image": image, "envVars": { "VERSION": version } }))
            .await?;
    }
    let (status, body) = client.call("front/call?path=/function/back/version").await?;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "b"));
    Ok(())
}

async fn namespaces_keep_functions_apart(world: World) -> Result<()> {
    let World { gateway: _gateway, client, image } = world;
    let function = |version: &str| json!({ "service": "same", "image": image, "namespace": "dev", "envVars": { "VERSION": version } });
    let (status, body) =
        client.system(Method::POST, "/system/functions", Some(function("dev"))).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    let namespace = json!({ "name": "dev", "labels": { "openfaas": "1" } });
    let path = "/system/namespace/";
    let made = client.system(Method::POST, path, Some(namespace.clone())).await?;
    assert_eq!(made.0, StatusCode::CREATED);
    assert_eq!(client.system(Method::POST, path, Some(namespace)).await?.0, StatusCode::CONFLICT);
    let (_, all) = client.system(Method::GET, "/system/namespaces", None).await?;
    assert_eq!(all, r#"["dev","openfaas-fn"]"#);

    let made = client.system(Method::POST, "/system/functions", Some(function("dev"))).await?;
    assert_eq!(made.0, StatusCode::ACCEPTED, "{}", made.1);
    client.until("same.dev", "ready", |status| status["availableReplicas"] == 1).await?;
    assert_eq!(client.call("same.dev/version").await?.1, "dev");
    assert_eq!(client.call("same/version").await?.0, StatusCode::NOT_FOUND);
    let busy = client.system(Method::DELETE, "/system/namespace/dev", None).await?;
    assert_eq!(busy.0, StatusCode::CONFLICT, "{}", busy.1);
    let body = json!({ "functionName": "same", "namespace": "dev" });
    client.system(Method::DELETE, "/system/functions", Some(body)).await?;
    let gone = client.system(Method::DELETE, "/system/namespace/dev", None).await?;
    assert_eq!(gone.0, StatusCode::ACCEPTED, "{}", gone.1);
    Ok(())
}

async fn logs_are_lines_of_json(world: World) -> Result<()> {
    let World { gateway, client, image } = world;
    client.deploy(json!({ "service": "talk", "image": image })).await?;
    for word in ["one", "two", "three"] {
        client.call(&format!("talk/log?word={word}")).await?;
    }
    let lines = async |query: &str| -> Result<Vec<serde_json::Value>> {
        let path = format!("/system/logs?name=talk&{query}");
        let (status, body) = client.system(Method::GET, &path, None).await?;
        assert_eq!(status, StatusCode::OK, "{body}");
        Ok(body.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?)
    };
    // An engine writes down what a container says a moment after it was said.
    until_told(&mut follow(&gateway, &client, "tail=-1").await?, "three").await?;
    let all = lines("tail=-1").await?;
    assert!(all.iter().any(|line| line["text"].as_str().is_some_and(|t| t.contains("two"))));
    assert_eq!(all[0]["name"], "talk");
    assert_eq!(lines("tail=1").await?.len(), 1);
    assert!(lines("since=2999-01-01T00:00:00Z").await?.is_empty());
    assert!(lines("tail=-1&instance=other").await?.is_empty());
    let instance = all[0]["instance"].as_str().unwrap_or_default().to_owned();
    // More may have been written meanwhile: what a replica says of a call comes after its answer.
    let of_it = lines(&format!("tail=-1&instance={instance}")).await?;
    assert_eq!(of_it.get(..all.len()), Some(&all[..]));
    assert!(of_it.iter().all(|line| line["instance"] == *instance));
    Ok(())
}

/// Follows the logs of the function `talk`.
async fn follow(gateway: &Gateway, client: &Client, query: &str) -> Result<Response> {
    let path = format!("/system/logs?name=talk&follow=true&{query}");
    let request = client.request(Method::GET, &path);
    Ok(request.basic_auth("admin", Some(gateway.password()?)).send().await?)
}

/// Reads what is followed until a word comes.
async fn until_told(stream: &mut Response, word: &str) -> Result<()> {
    let mut seen = String::new();
    while !seen.contains(word) {
        let Some(chunk) = stream.chunk().await? else { break };
        seen.push_str(&String::from_utf8_lossy(&chunk));
    }
    ensure!(seen.contains(word), "it ended without {word:?}: {seen}");
    Ok(())
}

async fn followed_logs_go_on(world: World) -> Result<()> {
    let World { mut gateway, client, image } = world;
    client.deploy(json!({ "service": "talk", "image": image })).await?;
    let mut stream = follow(&gateway, &client, "tail=0").await?;
    client.call("talk/log?word=later").await?;
    until_told(&mut stream, "later").await?;
    // Whoever follows does not hold the gateway up, and is told the end as an end.
    let stopped = tokio::task::spawn_blocking(move || gateway.stop());
    while stream.chunk().await?.is_some() {}
    assert_eq!(stopped.await??, Some(0));
    Ok(())
}
