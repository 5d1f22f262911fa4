//! One process that serves HTTP itself (contract 5.4).

use std::cell::OnceCell;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use relay::{Body, Call, Pool, PoolOptions, Rules, SendError, Target};
use tokio::time::{Instant, timeout_at};

use super::{Allowed, DEADLINE};
use crate::answer;
use crate::appear::Appearance;
use crate::config::Config;
use crate::health::Health;
use crate::log;
use crate::upstream::Upstream;

/// How long a connection to the function may lie unused. Servers close theirs after 2 s
/// (gunicorn), 5 s (Node, uvicorn) or later, and a request must not meet that.
const IDLE: Duration = Duration::from_millis(1500);

/// Most bytes of a chunked request that are collected with `buffer_http`.
const MAX_COLLECTED: u64 = 64 << 20;

/// The function's server.
#[derive(Debug)]
pub struct Proxy {
    upstream: Upstream,
    target: OnceCell<Target>,
    /// Kept only because letting go of it would hold up the first call.
    watch: OnceCell<Appearance>,
    pool: Pool,
    limit: Option<Duration>,
    collect: bool,
}

impl Proxy {
    /// A function that is to be reached at `upstream`.
    pub fn new(upstream: Upstream, config: &Config) -> Self {
        let options = PoolOptions { idle_timeout: IDLE, ..PoolOptions::default() };
        Self {
            upstream,
            target: OnceCell::new(),
            watch: OnceCell::new(),
            pool: Pool::new(options),
            limit: config.exec_timeout,
            collect: config.buffer_http,
        }
    }

    /// Returns when the function accepts connections.
    pub async fn accepting(&self) {
        let (target, watch) = self.upstream.accepting().await;
        // It is called once.
        let _ = self.target.set(target);
        let _ = watch.map(|watch| self.watch.set(watch));
    }

    /// Passes a call on to the function.
    pub async fn call(&self, request: Request<Body>, health: &Health) -> Response<Body> {
        let allowed = Allowed::new(self.limit, request.headers());
        let response = match self.target(health, allowed.deadline()).await {
            Err(refusal) => refusal,
            Ok(_) if allowed.is_over() => answer::too_slow(allowed.limit()),
            Ok(target) => match self.send(target, request, &allowed).await {
                Ok(response) => response,
                Err(error) => failure(error, allowed.limit()),
            },
        };
        answer::with_duration(response, allowed.start.elapsed())
    }

    /// Where the function is; waits for it to start.
    async fn target(
        &self,
        health: &Health,
        deadline: Option<Instant>,
    ) -> Result<&Target, Response<Body>> {
        if let Some(target) = self.target.get() {
            return Ok(target);
        }
        let started = match deadline {
            Some(deadline) => timeout_at(deadline, health.started()).await.ok(),
            None => Some(health.started().await),
        };
        let reason = match started {
            None => "the function did not get ready in time",
            Some(_) => "the function is stopping",
        };
        self.target.get().ok_or_else(|| answer::not_ready(reason))
    }

    async fn send(
        &self,
        target: &Target,
        request: Request<Body>,
        allowed: &Allowed,
    ) -> Result<Response<Body>, SendError> {
        let rules = Rules {
            path: self.upstream.path(request.uri()),
            deadline: allowed.deadline(),
            ..Rules::default()
        };
        let mut call = Call::forward(request, &rules);
        let sized = call.headers().contains_key(CONTENT_LENGTH);
        // Who speaks gRPC reads messages as they come.
        let streams = call.is_grpc();
        if self.collect && !streams && !sized && !call.is_empty() {
            collect(&mut call).await?;
        }
        match allowed.left_ms() {
            Some(left) => call.set_number(&DEADLINE, left),
            None => drop(call.headers_mut().remove(DEADLINE)),
        }
        let mut response = self.pool.send(target, &mut call).await?;
        // Only the watchdog knows what the function did not see.
        response.headers_mut().remove(answer::NOT_TAKEN);
        Ok(response)
    }
}

/// Reads the whole body, for servers that do not understand chunks.
async fn collect(call: &mut Call) -> Result<(), SendError> {
    let body = call.take_body().with_limit(MAX_COLLECTED);
    let bytes = body.collect().await.map_err(SendError::RequestBody)?.to_bytes();
    call.set_body(Body::full(bytes));
    Ok(())
}

fn failure(error: SendError, limit: Duration) -> Response<Body> {
    let unsent = matches!(error, SendError::NotSent(_));
    match error {
        SendError::Deadline => {
            log::line(format_args!("Upstream HTTP request timed out after {limit:?}"));
            answer::too_slow(limit)
        }
        SendError::RequestBody(relay::BodyError::TooLarge(max)) => {
            let reason = format!("fwatchdog: the body is larger than {max} bytes");
            answer::error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", reason)
        }
        SendError::RequestBody(error) => {
            let reason = format!("fwatchdog: {error}");
            answer::error(StatusCode::BAD_REQUEST, "body_broken", reason)
        }
        error => {
            log::line(format_args!("Upstream HTTP request error: {error}"));
            let reason = format!("fwatchdog: cannot reach the function: {error}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            let answer = answer::error(status, "function_unreachable", reason);
            let answer = answer::internal(answer, "of-watchdog");
            if unsent { answer::not_taken(answer) } else { answer }
        }
    }
}
