//! From a function to a deployed one: PUT, and POST when there is none yet (contract 10).

use anyhow::Result;
use provider::Function;
use reqwest::{Method, StatusCode};

use super::{Options, wait};
use crate::error::hinted;
use crate::gateway::{Answer, Gateway};
use crate::output;

/// Words of a gateway that refuses a function, and what a person can do then.
const HINTS: [(&str, &str); 2] = [
    ("there is no secret", "make it: `faas secret create NAME --from-file FILE`"),
    (
        "not on this machine's PATH",
        "if it is there by now: the gateway has the PATH of the `faas up` that started it, and takes \
         yours after `faas down`",
    ),
];

/// Deploys a function, says so on stdout, and waits for it when that is wanted.
pub async fn deploy_function(
    gateway: &Gateway,
    function: &Function,
    options: &Options,
) -> Result<()> {
    let name = &function.service;
    if function.image.is_empty() {
        let hint = "set `image:` in the stack file, or --image";
        return Err(hinted(format!("function {name} has no image"), hint));
    }
    output::talk(&format!("Deploying: {name}."));
    let answer = deploy_quietly(gateway, function, options).await?;
    if answer.status == StatusCode::OK && options.update {
        let text = format!("Function {name} already exists, attempting rolling-update.");
        output::line(&text)?;
    }
    let url = gateway.function_url(name, &function.namespace);
    output::line(&format!("Deployed. {}.\nURL: {url}", answer.status))?;
    if options.wait {
        wait::until_ready(gateway, function, options.timeout).await?;
    }
    Ok(())
}

/// Deploys a function and says nothing of it.
pub(crate) async fn deploy_quietly(
    gateway: &Gateway,
    function: &Function,
    options: &Options,
) -> Result<Answer> {
    let answer = send(gateway, function, options).await?;
    if answer.status.is_success() { Ok(answer) } else { Err(refused(&function.service, &answer)) }
}

async fn send(gateway: &Gateway, function: &Function, options: &Options) -> Result<Answer> {
    if options.replace {
        // Nothing to remove is as good as removed; other trouble shows in the next call.
        gateway.remove_function(&function.service, &function.namespace).await?;
    }
    let limit = options.timeout;
    if options.update {
        let answer = gateway.put_function(Method::PUT, function, limit).await?;
        if answer.status != StatusCode::NOT_FOUND {
            return Ok(answer);
        }
    }
    gateway.put_function(Method::POST, function, limit).await
}

fn refused(name: &str, answer: &Answer) -> anyhow::Error {
    let error = answer.refusal(&format!("function {name} is not deployed"));
    if answer.status == StatusCode::CONFLICT {
        let hint = "leave out --update=false to update it, or use --replace";
        return hinted(error.to_string(), hint);
    }
    if answer.status == StatusCode::BAD_REQUEST
        && let Some((_, hint)) = HINTS.iter().find(|(words, _)| answer.body.contains(words))
    {
        return hinted(error.to_string(), *hint);
    }
    error
}
