//! The parts of a stack file.

use std::collections::BTreeMap;

use provider::{Resources, annotation};
use serde::Deserialize;

use super::merge::{MERGE, Many, texts};

/// The `provider` part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ProviderPart {
    /// Must be `openfaas`.
    #[serde(default)]
    pub name: Option<String>,
    /// The gateway's URL.
    #[serde(default)]
    pub gateway: Option<String>,
}

/// The `configuration` part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Templates and where they come from.
    pub templates: Vec<TemplateSource>,
    /// Extra paths that every function's build context gets.
    pub copy: Vec<String>,
}

/// A template and where it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TemplateSource {
    /// The template's name.
    pub name: String,
    /// A git repository, `url` or `url#ref`; the template store knows it when this is missing.
    #[serde(default)]
    pub source: Option<String>,
}

/// One function of a stack file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its namespace; empty when the file has none.
    pub namespace: String,
    /// The template's name, with its `@ref` when it has one; empty when the file has none.
    pub lang: String,
    /// The folder of its source; empty when the file has none.
    pub handler: String,
    /// The image reference; empty when the file has none.
    pub image: String,
    /// The process that the watchdog runs; empty means the template's.
    pub fprocess: String,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// YAML files with more environment variables; the later ones win.
    pub environment_file: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
    /// Only deployed, never built or pushed.
    pub skip_build: bool,
    /// Where it may run.
    pub constraints: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations; `timeout:`, `network:` and `sandbox:` are among them.
    pub annotations: BTreeMap<String, String>,
    /// The most it may use.
    pub limits: Option<Resources>,
    /// What is set aside for it.
    pub requests: Option<Resources>,
    /// Whether its root file system is read-only.
    pub readonly_root_filesystem: bool,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Names of the template's build options.
    pub build_options: Vec<String>,
    /// Secrets of the build, by id, and the files that hold them.
    pub build_secrets: BTreeMap<String, String>,
    /// Platforms for `publish`, comma-separated.
    pub platforms: String,
}

impl Function {
    /// The template's name and the version that it is pinned to, if it is.
    pub fn template(&self) -> (&str, Option<&str>) {
        match self.lang.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (&self.lang, None),
        }
    }

    /// Whether its handler is a whole build context with a Dockerfile of its own.
    pub fn is_dockerfile(&self) -> bool {
        self.lang.eq_ignore_ascii_case("dockerfile")
    }

    /// As it goes over the wire; variables of files win over its own.
    pub(super) fn wire(&self, files: BTreeMap<String, String>) -> provider::Function {
        let mut env_vars = self.environment.clone();
        env_vars.extend(files);
        provider::Function {
            service: self.name.clone(),
            image: self.image.clone(),
            namespace: self.namespace.clone(),
            env_process: self.fprocess.clone(),
            env_vars,
            constraints: self.constraints.clone(),
            secrets: self.secrets.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            limits: self.limits.clone(),
            requests: self.requests.clone(),
            read_only_root_filesystem: self.readonly_root_filesystem,
            ..provider::Function::default()
        }
    }
}

/// The keys of a function.
pub(super) const KEYS: &[&str] = &[
    MERGE,
    "lang",
    "handler",
    "image",
    "fprocess",
    "environment",
    "environment_file",
    "secrets",
    "skip_build",
    "constraints",
    "labels",
    "annotations",
    "limits",
    "requests",
    "readonly_root_filesystem",
    "build_args",
    "build_options",
    "build_secrets",
    "platforms",
    "namespace",
    "timeout",
    "network",
    "sandbox",
];

/// A function as the file has it: each key may be missing, so that merge keys can fill them in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Written {
    #[serde(rename = "<<")]
    bases: Many<Written>,
    lang: Option<String>,
    handler: Option<String>,
    image: Option<String>,
    fprocess: Option<String>,
    #[serde(deserialize_with = "texts")]
    environment: Option<BTreeMap<String, String>>,
    environment_file: Option<Vec<String>>,
    secrets: Option<Vec<String>>,
    skip_build: Option<bool>,
    constraints: Option<Vec<String>>,
    #[serde(deserialize_with = "texts")]
    labels: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "texts")]
    annotations: Option<BTreeMap<String, String>>,
    limits: Option<Resources>,
    requests: Option<Resources>,
    readonly_root_filesystem: Option<bool>,
    #[serde(deserialize_with = "texts")]
    build_args: Option<BTreeMap<String, String>>,
    build_options: Option<Vec<String>>,
    #[serde(deserialize_with = "texts")]
    build_secrets: Option<BTreeMap<String, String>>,
    platforms: Option<String>,
    namespace: Option<String>,
    timeout: Option<String>,
    network: Option<String>,
    sandbox: Option<String>,
}

impl Written {
    /// The function, with its bases merged in.
    pub(super) fn finish(mut self, name: String) -> Function {
        for base in std::mem::take(&mut self.bases.0) {
            self = self.or(base.flat());
        }
        let mut annotations = self.annotations.unwrap_or_default();
        let short = [
            (annotation::TIMEOUT, self.timeout),
            (annotation::NETWORK, self.network),
            (annotation::SANDBOX, self.sandbox),
        ];
        for (key, value) in short {
            annotations.extend(value.map(|value| (key.to_owned(), value)));
        }
        Function {
            name,
            namespace: self.namespace.unwrap_or_default(),
            lang: self.lang.unwrap_or_default(),
            handler: self.handler.unwrap_or_default(),
            image: self.image.unwrap_or_default(),
            fprocess: self.fprocess.unwrap_or_default(),
            environment: self.environment.unwrap_or_default(),
            environment_file: self.environment_file.unwrap_or_default(),
            secrets: self.secrets.unwrap_or_default(),
            skip_build: self.skip_build.unwrap_or_default(),
            constraints: self.constraints.unwrap_or_default(),
            labels: self.labels.unwrap_or_default(),
            annotations,
            limits: self.limits,
            requests: self.requests,
            readonly_root_filesystem: self.readonly_root_filesystem.unwrap_or_default(),
            build_args: self.build_args.unwrap_or_default(),
            build_options: self.build_options.unwrap_or_default(),
            build_secrets: self.build_secrets.unwrap_or_default(),
            platforms: self.platforms.unwrap_or_default(),
        }
    }

    fn flat(mut self) -> Self {
        for base in std::mem::take(&mut self.bases.0) {
            self = self.or(base.flat());
        }
        self
    }

    /// Its own keys, and for those that are missing the base's.
    fn or(self, base: Self) -> Self {
        Self {
            bases: Many::default(),
            lang: self.lang.or(base.lang),
            handler: self.handler.or(base.handler),
            image: self.image.or(base.image),
            fprocess: self.fprocess.or(base.fprocess),
            environment: self.environment.or(base.environment),
            environment_file: self.environment_file.or(base.environment_file),
            secrets: self.secrets.or(base.secrets),
            skip_build: self.skip_build.or(base.skip_build),
            constraints: self.constraints.or(base.constraints),
            labels: self.labels.or(base.labels),
            annotations: self.annotations.or(base.annotations),
            limits: self.limits.or(base.limits),
            requests: self.requests.or(base.requests),
            readonly_root_filesystem: self
                .readonly_root_filesystem
                .or(base.readonly_root_filesystem),
            build_args: self.build_args.or(base.build_args),
            build_options: self.build_options.or(base.build_options),
            build_secrets: self.build_secrets.or(base.build_secrets),
            platforms: self.platforms.or(base.platforms),
            namespace: self.namespace.or(base.namespace),
            timeout: self.timeout.or(base.timeout),
            network: self.network.or(base.network),
            sandbox: self.sandbox.or(base.sandbox),
        }
    }
}
