//! What a request meets: health, limiter, the function.

use std::rc::Rc;

use http::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri};
use relay::Body;

use crate::access::{Access, Style};
use crate::answer;
use crate::config::{Config, Mode};
use crate::health::Health;
use crate::limit::Limiter;
use crate::metrics::Metrics;
use crate::mode::files::Files;
use crate::mode::fork::Forker;
use crate::mode::http::Proxy;
use crate::reap::Reaper;

/// Everything that answers requests.
#[derive(Debug)]
pub struct App {
    /// Whether calls are taken.
    pub health: Health,
    /// Calls in flight.
    pub limiter: Limiter,
    /// What was counted.
    pub metrics: Metrics,
    /// The function.
    pub function: Function,
    style: Style,
    ready_path: Option<Uri>,
}

/// The function, by mode.
#[derive(Debug)]
pub enum Function {
    /// A server of its own.
    Http(Proxy),
    /// A process for each call.
    Fork(Forker),
    /// Files.
    Static(Files),
}

impl App {
    /// The app for a configuration.
    ///
    /// # Errors
    /// When the metrics cannot be set up.
    pub fn new(config: &Config, reaper: Rc<Reaper>) -> prometheus::Result<Self> {
        let function = match &config.mode {
            Mode::Http(upstream) => Function::Http(Proxy::new(upstream.clone(), config)),
            Mode::Static(root) => Function::Static(Files::new(root.clone())),
            _ => Function::Fork(Forker::new(config, reaper)),
        };
        let is_http = matches!(function, Function::Http(_));
        Ok(Self {
            health: Health::new(config.lock_file.clone()),
            limiter: Limiter::new(config.max_inflight),
            metrics: Metrics::new()?,
            function,
            style: Style { reason: is_http, call_id: is_http && config.log_callid },
            ready_path: config.ready_path.clone().map(Uri::from),
        })
    }

    /// Answers a request on the function's port.
    pub async fn handle(&self, request: Request<Body>) -> Response<Body> {
        match request.uri().path() {
            "/_/health" => self.health(&request),
            "/_/ready" => self.ready(request).await,
            _ => self.call(request).await,
        }
    }

    /// Answers a request on the metrics port.
    pub fn metrics<B>(&self, request: &Request<B>) -> Response<Body> {
        if request.uri().path() != "/metrics" {
            return answer::text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        let mut response = Response::new(Body::full(self.metrics.render()));
        let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    fn health(&self, request: &Request<Body>) -> Response<Body> {
        if let Some(refusal) = only_get(request) {
            return refusal;
        }
        match self.health.is_healthy() {
            true => answer::text(StatusCode::OK, "OK"),
            false => answer::text(StatusCode::SERVICE_UNAVAILABLE, ""),
        }
    }

    async fn ready(&self, mut request: Request<Body>) -> Response<Body> {
        if let Some(refusal) = only_get(&request) {
            return refusal;
        }
        if !self.health.is_healthy() {
            return answer::text(StatusCode::SERVICE_UNAVAILABLE, "");
        }
        if self.limiter.is_full() {
            return self.crowded();
        }
        match &self.ready_path {
            None => answer::text(StatusCode::OK, "OK"),
            Some(path) => {
                request.uri_mut().clone_from(path);
                self.run(request).await
            }
        }
    }

    async fn call(&self, request: Request<Body>) -> Response<Body> {
        let mut access = Access::begin(&request, &self.metrics, self.style);
        let Some(slot) = self.limiter.acquire() else {
            return access.answered(self.crowded());
        };
        access.occupies(slot);
        access.answered(self.run(request).await)
    }

    async fn run(&self, request: Request<Body>) -> Response<Body> {
        match &self.function {
            Function::Http(proxy) => proxy.call(request, &self.health).await,
            Function::Fork(forker) => forker.call(request).await,
            Function::Static(files) => files.call(&request).await,
        }
    }

    /// The text is the contract's (5.8); the caller may try another replica at once.
    fn crowded(&self) -> Response<Body> {
        let max = self.limiter.max();
        let reason = format!("Concurrent request limit exceeded. Max concurrent requests: {max}");
        let refusal = answer::error(StatusCode::TOO_MANY_REQUESTS, "crowded", reason);
        let mut refusal = answer::internal(refusal, "faas-middleware");
        refusal.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        answer::not_taken(refusal)
    }
}

fn only_get<B>(request: &Request<B>) -> Option<Response<Body>> {
    if request.method() == Method::GET {
        return None;
    }
    let mut refusal = answer::text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    Some(refusal)
}
