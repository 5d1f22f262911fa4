//! The threads that relay calls.

use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use futures_util::future::join_all;
use http::{Request, Response};
use relay::{Body, Listener, Peer, Places, ServeOptions, Shutdown};
use tokio::runtime::Handle;
use tower_service::Service;

use super::files;
use super::sockets::Socket;
use crate::call::{Caller, PREFIX, Shared, route};
use crate::config::Config;
use crate::error::Error;

/// What a thread that relays calls is made from.
pub(super) struct Seed {
    pub(super) sockets: Vec<Socket>,
    pub(super) options: ServeOptions,
    pub(super) shutdown: Shutdown,
    pub(super) shared: Arc<Shared>,
    pub(super) router: Router,
    pub(super) runtime: Handle,
}

/// What the servers on all of these sockets are told.
pub(super) fn serve_options(config: &Config, threads: &[Vec<Socket>]) -> ServeOptions {
    let base = ServeOptions {
        header_timeout: config.read_timeout,
        idle_timeout: config.read_timeout,
        drain_timeout: config.write_timeout,
        ..ServeOptions::default()
    };
    // Each server keeps one place for whoever comes next.
    let servers: usize = threads.iter().map(Vec::len).sum();
    let most = config.clients.max_connections.map_or_else(files::for_clients, usize::from);
    config.clients.serve_options(&base, Places::new(most.saturating_add(servers)))
}

/// The work of one data thread: calls here, everything else on the API's runtime.
pub(super) async fn relay_calls(seed: Seed) {
    let Seed { sockets, options, shutdown, shared, router, runtime } = seed;
    let caller = Rc::new(Caller::new(shared.clone()));
    let handler = move |request: Request<Body>, peer: Peer| {
        let (caller, request) = (caller.clone(), route(request));
        let api = || Api { router: router.clone(), runtime: runtime.clone() };
        let api = (!request.uri().path().starts_with(PREFIX)).then(api);
        async move {
            match api {
                None => caller.call(request, peer).await,
                Some(api) => api.answer(request, peer, &caller).await,
            }
        }
    };
    let serve = |socket: Socket| {
        let (options, shutdown, handler) = (options.clone(), shutdown.clone(), handler.clone());
        let listener = match socket {
            Socket::Plain(listener) => Listener::from_tcp(listener),
            Socket::Tls(listener, tls) => Listener::from_tls(listener, tls),
            Socket::BackDoor(listener) => Listener::from_unix(listener),
        };
        async move {
            match listener {
                Ok(listener) => relay::serve(listener, options, shutdown, handler).await,
                Err(error) => tracing::error!(%error, "cannot serve"),
            }
        }
    };
    join_all(sockets.into_iter().map(serve)).await;
}

/// The API, on its own runtime.
struct Api {
    router: Router,
    runtime: Handle,
}

impl Api {
    /// Hands a request to the API and its answer back. When this gateway leaves, the next one
    /// answers.
    async fn answer(
        mut self,
        request: Request<Body>,
        peer: Peer,
        caller: &Caller,
    ) -> Response<Body> {
        let Some(work) = caller.leaving().work().await else {
            return caller.pass_on_system(request, peer).await;
        };
        let request = request.map(relay::Sendable::from);
        let answer = self.runtime.spawn(async move {
            let _work = work;
            self.router.call(request).await
        });
        match answer.await {
            Ok(Ok(response)) => response.map(Body::boxed),
            Ok(Err(never)) => match never {},
            Err(panic) => {
                tracing::error!(%panic, "a handler failed");
                let reason = "a handler failed".to_owned();
                let error = provider::Error::Backend { backend: "gateway", reason };
                Error::from(error).response().map(Body::from)
            }
        }
    }
}
