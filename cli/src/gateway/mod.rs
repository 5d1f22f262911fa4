//! The client of the gateway's REST API (contract 1).
//!
//! This file holds the connection: address, credentials, errors. Each noun has a file of its own.

mod bundles;
mod functions;
mod info;
mod logs;
mod namespaces;
mod secrets;
mod seen;

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Certificate, Method, Request, RequestBuilder, Response, StatusCode, Url};

use crate::args::GatewayArgs;
use crate::config::{Auth, AuthKind, ConfigFile, DEFAULT_GATEWAY, Environment};
use crate::error::{caused, hinted, usage};
use crate::output::{self, style};

pub use bundles::Backend;
pub use info::Info;
pub use logs::{LogStream, LogsQuery};
pub use seen::{Seen, Usage};

/// Longest wait for an answer of the API (contract 7.1).
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A gateway, and how to talk to it.
#[derive(Debug)]
pub struct Gateway {
    url: Url,
    shown: String,
    client: reqwest::Client,
    authorization: Option<HeaderValue>,
    tls_no_verify: bool,
    debug: bool,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body, as text.
    pub body: String,
}

/// Which TLS certificates are taken besides those that the machine trusts.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Those of this authority, a PEM file.
    pub authority: Option<PathBuf>,
    /// Any.
    pub any: bool,
}

impl Trust {
    /// What the flags say, and the variable `FAAS_TLS_CA`.
    pub fn new(args: &GatewayArgs, env: &Environment) -> Self {
        let authority = args.tls_ca.as_ref().or(env.tls_ca.as_ref()).cloned();
        Self { authority, any: args.tls_no_verify }
    }
}

impl Gateway {
    /// A client with the saved login, if any. Nothing is sent yet.
    pub fn new(url: &str, args: &GatewayArgs, env: &Environment) -> Result<Self> {
        let parsed = check_url(url)?;
        let authorization = match &args.token {
            Some(token) => Some(sensitive(&format!("Bearer {token}"))?),
            None => saved_login(url, env)?,
        };
        Ok(Self {
            client: client_of(&parsed, &Trust::new(args, env))?
                .build()
                .context("the HTTP client cannot start")?,
            url: parsed,
            shown: url.to_owned(),
            authorization,
            tls_no_verify: args.tls_no_verify,
            debug: env.debug,
        })
    }

    /// Sends these credentials from now on.
    pub fn with_login(mut self, auth: &Auth) -> Result<Self> {
        self.authorization = header_of(auth)?;
        Ok(self)
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.shown
    }

    /// The URL under which a function is called.
    pub fn function_url(&self, name: &str, namespace: &str) -> String {
        format!("{}/function/{}", self.shown, qualified(name, namespace))
    }

    /// The URL under which a function is called asynchronously.
    pub fn async_url(&self, name: &str, namespace: &str) -> String {
        format!("{}/async-function/{}", self.shown, qualified(name, namespace))
    }

    /// Warns when credentials would travel in the clear through a network.
    pub fn warn_if_plain(&self) {
        let plain = self.url.scheme() == "http" && !is_loopback(&self.url);
        if plain && !self.tls_no_verify {
            output::warn(&format!(
                "no TLS: credentials and code travel in the clear to {}; use https in production",
                self.shown
            ));
        }
    }

    /// A request of the API, with credentials. `path` starts with a slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method, format!("{}{path}", self.shown));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request
    }

    /// A request to a function: without the gateway's credentials and without a deadline.
    pub fn call(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// Sends a request; the body of the answer is still to come.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let request = request.build().context("the request cannot be made")?;
        if self.debug {
            dump(&request);
        }
        self.client.execute(request).await.map_err(|e| self.explain(&e))
    }

    /// Sends a request of the API and reads the whole answer.
    ///
    /// No credentials, wrong ones, and redirects are errors; any other status is the caller's.
    pub async fn ask(&self, request: RequestBuilder) -> Result<Answer> {
        let response = self.send(request.timeout(TIMEOUT)).await?;
        self.read(response).await
    }

    /// As [`Gateway::ask`], with another limit.
    pub async fn ask_within(&self, limit: Duration, request: RequestBuilder) -> Result<Answer> {
        let response = self.send(request.timeout(limit)).await?;
        self.read(response).await
    }

    /// Reads the whole answer; see [`Gateway::ask`].
    async fn read(&self, response: Response) -> Result<Answer> {
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
        if let (true, Some(to)) = (status.is_redirection(), location) {
            let message = format!("{} answers {status}: it is at {to}", self.shown);
            return Err(hinted(message, "name the right gateway with -g or OPENFAAS_URL"));
        }
        if status == StatusCode::UNAUTHORIZED {
            return Err(self.unauthorized());
        }
        let body = response.text().await.map_err(|e| self.explain(&e))?;
        Ok(Answer { status, body })
    }

    /// The gateway does not know who asks.
    pub fn unauthorized(&self) -> anyhow::Error {
        let hint = format!("run \"faas login -g {}\" to set up authentication for it", self.shown);
        hinted(format!("unauthorized access to {}", self.shown), hint)
    }

    fn explain(&self, error: &reqwest::Error) -> anyhow::Error {
        let cause = root(error);
        let url = &self.shown;
        if cause.contains("certificate") {
            let hint = "name its authority with --tls-ca FILE, or go without the check with \
                        --tls-no-verify";
            return caused(format!("the TLS certificate of {url} is not trusted"), hint, cause);
        }
        if cause.contains("InvalidContentType") {
            let hint = "does it speak plain HTTP? Then its URL starts with http://";
            return caused(format!("{url} does not speak TLS"), hint, cause);
        }
        if error.is_timeout() && !error.is_connect() {
            let hint = "it may be busy: try again, or allow more time where --timeout is a flag";
            return caused(format!("the gateway at {url} did not answer in time"), hint, cause);
        }
        if error.is_connect() {
            let hint = match url.as_str() {
                DEFAULT_GATEWAY => "`faas up` starts one, or name one with -g or OPENFAAS_URL",
                _ => "start a gateway, or name one with -g or OPENFAAS_URL",
            };
            return caused(format!("no gateway answers at {url}"), hint, cause);
        }
        let hint = "set FAAS_DEBUG=1 to see the requests";
        caused(format!("the connection to {url} broke"), hint, cause)
    }
}

impl Answer {
    /// The answer of a call that must succeed; `what` says what was tried.
    pub fn success(self, what: &str) -> Result<Self> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal(what)) }
    }

    /// The error of a call that did not succeed.
    pub fn refusal(&self, what: &str) -> anyhow::Error {
        let status = self.status.as_u16();
        match self.body.trim() {
            "" => anyhow::anyhow!("{what}: unexpected status: {}", self.status),
            body => anyhow::anyhow!("{what}: unexpected status: {status}, message: {body}"),
        }
    }

    /// The body as JSON; `what` says what was asked for.
    pub fn json<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T> {
        serde_json::from_str(&self.body).map_err(|e| {
            let hint = "is there really a gateway at this URL?";
            caused(format!("{what}: the answer cannot be read"), hint, e)
        })
    }
}

/// `fn`, or `fn.ns` when there is a namespace.
fn qualified(name: &str, namespace: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{name}.{namespace}") }
}

fn check_url(url: &str) -> Result<Url> {
    let hint = "a gateway's URL looks like http://127.0.0.1:8080";
    match Url::parse(url) {
        Ok(parsed) if parsed.has_host() && ["http", "https"].contains(&parsed.scheme()) => {
            Ok(parsed)
        }
        Ok(_) => Err(usage(format!("{url:?} is not a gateway's URL"), hint)),
        Err(e) => Err(usage(format!("{url:?} is not a gateway's URL: {e}"), hint)),
    }
}

/// The certificates in a PEM file.
fn read_authority(path: &Path) -> Result<Vec<Certificate>> {
    let hint = "--tls-ca or FAAS_TLS_CA names the PEM file of the authority that signed the \
                gateway's certificate";
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|e| usage(format!("{shown}: {e}"), hint))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(usage(format!("{shown} holds no PEM certificate"), hint)),
    }
}

/// What a client of the gateway at this URL is made from.
pub(crate) fn client_builder(url: &str, trust: &Trust) -> Result<reqwest::ClientBuilder> {
    client_of(&check_url(url)?, trust)
}

fn client_of(url: &Url, trust: &Trust) -> Result<reqwest::ClientBuilder> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .no_hickory_dns()
        .tls_danger_accept_invalid_certs(trust.any);
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // No redirects, so no TLS: the machine's certificates need not be read, or be there.
        builder = builder.tls_certs_only([]);
    } else if let Some(path) = &trust.authority {
        builder = builder.tls_certs_merge(read_authority(path)?);
    }
    let mut headers = reqwest::header::HeaderMap::new();
    let agent = concat!("faas/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    Ok(builder.default_headers(headers))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|a| a.is_loopback())
}

fn saved_login(url: &str, env: &Environment) -> Result<Option<HeaderValue>> {
    match ConfigFile::load(env)?.auth(url) {
        Some(auth) => header_of(auth),
        None => Ok(None),
    }
}

fn header_of(auth: &Auth) -> Result<Option<HeaderValue>> {
    let scheme = match auth.auth {
        AuthKind::Basic => "Basic",
        AuthKind::Oauth2 => "Bearer",
    };
    sensitive(&format!("{scheme} {}", auth.token)).map(Some)
}

fn sensitive(value: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| usage("the token holds characters that no header may hold", "check it"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Prints a request, but no body and no credentials.
fn dump(request: &Request) {
    output::talk(&style::dim(&format!("> {} {}", request.method(), request.url())));
    for (name, value) in request.headers() {
        let secret = value.is_sensitive() || name == AUTHORIZATION;
        let value = if secret { "[redacted]" } else { value.to_str().unwrap_or("[bytes]") };
        output::talk(&style::dim(&format!("> {name}: {value}")));
    }
}

/// The innermost cause: the one that says something.
pub(crate) fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway(url: &str) -> Result<Gateway> {
        Gateway::new(url, &GatewayArgs::default(), &Environment::default())
    }

    #[test]
    fn urls_of_functions() {
        let gateway = gateway("http://127.0.0.1:8080").unwrap();
        assert_eq!(gateway.function_url("a", ""), "http://127.0.0.1:8080/function/a");
        assert_eq!(gateway.async_url("a", "b"), "http://127.0.0.1:8080/async-function/a.b");
    }

    #[test]
    fn only_urls_of_gateways_are_taken() {
        assert!(gateway("https://example.com/path").is_ok());
        for url in ["ftp://example.com", "http://", "http://a b", "http://x:99999"] {
            assert!(gateway(url).is_err(), "{url}");
        }
    }

    #[test]
    fn loopback() {
        let is = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(is("http://127.0.0.1:8080") && is("http://[::1]:8080") && is("http://localhost"));
        assert!(!is("http://10.0.0.1") && !is("http://localhost.example.com"));
    }

    #[test]
    fn a_client_with_tls_can_be_made() {
        assert!(gateway("https://127.0.0.1:8443").is_ok());
    }
}
