//! `faas invoke`: calls a function.

mod input;

use std::io::Write;

use anyhow::{Context as _, Result};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use crate::args::{GatewayArgs, key_value};
use crate::{Context, output};

/// Most of the body of a failed call that is shown, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Arguments of `faas invoke`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The function
    name: String,
    #[command(flatten)]
    gateway: GatewayArgs,
    /// The namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// The content type of the request
    #[arg(long, default_value = "text/plain", value_name = "TYPE")]
    content_type: HeaderValue,
    /// A query parameter, KEY=VALUE
    #[arg(long = "query", value_name = "KEY=VALUE", value_parser = key_value)]
    query: Vec<(String, String)>,
    /// A header, "KEY: VALUE" or KEY=VALUE
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Have the gateway take the call, and do not wait for its end
    #[arg(short, long = "async")]
    asynchronous: bool,
    /// The method
    #[arg(short, long, default_value = "POST", value_parser = method)]
    method: Method,
}

/// Calls a function: stdin is the body, the answer's body goes to stdout as it comes.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let gateway = context.gateway(&args.gateway).await?;
    let target = context.target(&args.name, args.namespace.as_deref()).await?;
    let url = if args.asynchronous {
        gateway.async_url(&target.name, &target.namespace)
    } else {
        gateway.function_url(&target.name, &target.namespace)
    };
    let request = shaped(gateway.call(args.method.clone(), &url), &args);
    let request = match input::body(&args.method).await? {
        Some(input::Input { body, length: Some(length) }) => {
            request.header(CONTENT_LENGTH, length).body(body)
        }
        Some(input) => request.body(input.body),
        None => request,
    };
    let response = gateway.send(request).await?;
    let status = response.status();
    match args.asynchronous {
        true if status == StatusCode::ACCEPTED => {
            output::talk("Function submitted asynchronously.");
            Ok(())
        }
        false if status.is_success() => copy(response).await,
        _ => Err(refused(response).await),
    }
}

fn shaped(request: RequestBuilder, args: &Args) -> RequestBuilder {
    let mut headers = HeaderMap::new();
    for (name, value) in &args.headers {
        headers.append(name, value.clone());
    }
    headers.entry(CONTENT_TYPE).or_insert_with(|| args.content_type.clone());
    let request = request.headers(headers);
    if args.query.is_empty() { request } else { request.query(&args.query) }
}

async fn copy(mut response: Response) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    while let Some(chunk) = response.chunk().await.context("the answer broke off")? {
        stdout.write_all(&chunk)?;
        stdout.flush()?;
    }
    Ok(())
}

async fn refused(mut response: Response) -> anyhow::Error {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    // What has come of a body that breaks off still says something.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BYTES {
            break;
        }
    }
    let body = String::from_utf8_lossy(&body);
    anyhow::anyhow!("server returned unexpected status code: {status} - {}", body.trim_end())
}

fn method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_uppercase().as_bytes()).map_err(|_| "must be a method".to_owned())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once([':', '=']).ok_or("must be \"KEY: VALUE\" or KEY=VALUE")?;
    let name = name.trim().parse().map_err(|_| format!("{name:?} is not a header's name"))?;
    let value = value.trim().parse().map_err(|_| "the value is not a header's".to_owned())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_in_both_spellings() {
        let text = |line: &str| {
            header(line).map(|(name, value)| format!("{name}|{}", value.to_str().unwrap())).ok()
        };
        assert_eq!(text("X-A: b=c").as_deref(), Some("x-a|b=c"));
        assert_eq!(text("X-A=b:c").as_deref(), Some("x-a|b:c"));
        assert_eq!(text("nothing"), None);
        assert_eq!(text("a b: c"), None);
    }

    #[test]
    fn methods() {
        assert_eq!(method("get"), Ok(Method::GET));
        assert!(method("G T").is_err());
    }
}
