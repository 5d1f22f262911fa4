//! `faas generate`: Kubernetes objects of functions (contract 8.6).

mod manifests;

use std::collections::BTreeMap;

use anyhow::Result;
use provider::{DEFAULT_NAMESPACE, Function, Resources};
use serde::Serialize;

use super::store::StoreArgs;
use crate::args::key_value;
use crate::error::hinted;
use crate::{Context, output};

/// Begins the API versions of our own objects.
const OURS: &str = "flint.dev/";
/// The API version of Deployments, and here of all objects that a gateway makes of a function.
const PLAIN: &str = "apps/v1";

/// Arguments of `faas generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The API version of the objects: openfaas.com/v1 or flint.dev/v1 for functions, apps/v1 for the plain objects
    /// that a gateway makes of them (flags of faas-gateway are read from their variables)
    #[arg(long, default_value = "openfaas.com/v1", value_name = "VERSION")]
    api: String,
    /// The namespace of functions that name none
    #[arg(short, long, default_value = DEFAULT_NAMESPACE)]
    namespace: String,
    /// A function of the store, instead of the stack's
    #[arg(long, value_name = "NAME")]
    from_store: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// A label, KEY=VALUE
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// An annotation, KEY=VALUE
    #[arg(long = "annotation", value_name = "KEY=VALUE", value_parser = key_value)]
    annotations: Vec<(String, String)>,
}

/// A Function object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    api_version: &'a str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    name: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    handler: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    env_process: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    constraints: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    secrets: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<&'a Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<&'a Resources>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    read_only_root_filesystem: bool,
}

/// Prints the objects, a YAML document each.
pub async fn run(args: Args, context: &Context) -> Result<()> {
    let mut functions = functions(&args, context).await?;
    for (function, _) in &mut functions {
        function.labels.extend(args.labels.iter().cloned());
        function.annotations.extend(args.annotations.iter().cloned());
        if function.namespace.is_empty() {
            function.namespace.clone_from(&args.namespace);
        }
    }
    if args.api == PLAIN {
        let all: Vec<Function> = functions.into_iter().map(|(function, _)| function).collect();
        return Ok(output::print(&manifests::render(&context.env, &all).await?)?);
    }
    let mut text = String::new();
    for (function, handler) in &functions {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&object(&args.api, function, handler))?);
    }
    Ok(output::print(&text)?)
}

/// The functions that are meant, and their handlers.
async fn functions(args: &Args, context: &Context) -> Result<Vec<(Function, String)>> {
    if let Some(name) = &args.from_store {
        let store = args.store.open(context).await?;
        return Ok(vec![(store.item(name)?.function(args.store.platform())?, String::new())]);
    }
    let (stack, functions) = context.functions().await?;
    let wire = |f: &crate::stack::Function| {
        if f.image.is_empty() {
            // As processes they need none, but these objects are for a cluster.
            let message = format!("function {} has no image", f.name);
            return Err(hinted(message, "set `image:` in the stack file"));
        }
        Ok((stack.to_function(f)?, f.handler.clone()))
    };
    functions.into_iter().map(wire).collect()
}

fn object<'a>(api: &'a str, function: &'a Function, handler: &'a str) -> Object<'a> {
    let mut environment = function.env_vars.clone();
    let mut env_process = function.env_process.as_str();
    // Objects of the reference product have no key for the process.
    if !api.starts_with(OURS) && !env_process.is_empty() {
        environment.insert("fprocess".to_owned(), env_process.to_owned());
        env_process = "";
    }
    Object {
        api_version: api,
        kind: "Function",
        metadata: Metadata { name: &function.service, namespace: &function.namespace },
        spec: Spec {
            name: &function.service,
            image: &function.image,
            handler,
            env_process,
            labels: &function.labels,
            annotations: &function.annotations,
            environment,
            constraints: &function.constraints,
            secrets: &function.secrets,
            limits: function.limits.as_ref(),
            requests: function.requests.as_ref(),
            read_only_root_filesystem: function.read_only_root_filesystem,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function() -> Function {
        Function {
            service: "echo".to_owned(),
            image: "flint/echo:1".to_owned(),
            namespace: "dev".to_owned(),
            env_process: "cat".to_owned(),
            secrets: vec!["key".to_owned()],
            ..Default::default()
        }
    }

    #[test]
    fn an_object() {
        let text =
            serde_yaml::to_string(&object("openfaas.com/v1", &function(), "./echo")).unwrap();
        assert_eq!(
            text,
            "apiVersion: openfaas.com/v1\nkind: Function\nmetadata:\n  name: echo\n  \
             namespace: dev\nspec:\n  name: echo\n  image: flint/echo:1\n  handler: ./echo\n  \
             environment:\n    fprocess: cat\n  secrets:\n  - key\n"
        );
    }

    #[test]
    fn our_own_object_says_the_process_in_its_own_key() {
        let text = serde_yaml::to_string(&object("flint.dev/v1", &function(), "")).unwrap();
        assert_eq!(
            text,
            "apiVersion: flint.dev/v1\nkind: Function\nmetadata:\n  name: echo\n  \
             namespace: dev\nspec:\n  name: echo\n  image: flint/echo:1\n  envProcess: cat\n  \
             secrets:\n  - key\n"
        );
    }
}
