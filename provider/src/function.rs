//! What is wanted: a function, as it is deployed (contract 1.6).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bundle::Reference;
use crate::json::{from_json, null_is_default};
use crate::secret::check_secret_name;
use crate::{DEFAULT_NAMESPACE, Error, Name, Result, Scale, parse_bytes, parse_millicores};

/// Labels that mean something to Flint (contract 4.1).
pub mod label {
    /// The function's name, on everything that belongs to it.
    pub const FUNCTION: &str = "faas_function";
    /// Least number of replicas.
    pub const SCALE_MIN: &str = "com.openfaas.scale.min";
    /// Greatest number of replicas.
    pub const SCALE_MAX: &str = "com.openfaas.scale.max";
    /// Whether idle functions go to zero: `true` or anything else.
    pub const SCALE_ZERO: &str = "com.openfaas.scale.zero";
    /// Idle time before zero, a duration.
    pub const SCALE_ZERO_DURATION: &str = "com.openfaas.scale.zero-duration";
    /// What is measured: `rps`, `capacity`, `cpu`, `memory`, `queue`, or the name of a query.
    pub const SCALE_TYPE: &str = "com.openfaas.scale.type";
    /// How much of it one replica is meant for.
    pub const SCALE_TARGET: &str = "com.openfaas.scale.target";
    /// How much of the target is used, above 0 and at most 1.
    pub const SCALE_TARGET_PROPORTION: &str = "com.openfaas.scale.target-proportion";
    /// Percent of the maximum that an alert adds, 1 to 100.
    pub const SCALE_FACTOR: &str = "com.openfaas.scale.factor";
    /// How long the highest recommendation holds replicas, a duration of at most 5m.
    pub const SCALE_DOWN_WINDOW: &str = "com.openfaas.scale.down.window";
    /// When there are to be more replicas than the minimum.
    pub const SCALE_SCHEDULE: &str = "flint.dev/scale.schedule";
    /// Idle time before replicas are frozen, a duration; `0` or `off` is never.
    pub const SCALE_FREEZE_AFTER: &str = "flint.dev/scale.freeze-after";
    /// Replicas that are made beforehand and not started.
    pub const SCALE_PREPARED: &str = "flint.dev/scale.prepared";
}

/// Annotations that mean something to Flint.
pub mod annotation {
    /// The one timeout of a function's calls, a duration.
    pub const TIMEOUT: &str = "flint.dev/timeout";
    /// The most calls that one replica takes at a time; the variable `max_inflight` wins over it.
    pub const MAX_INFLIGHT: &str = "flint.dev/max-inflight";
    /// The most calls that wait for a free slot when all replicas are busy.
    pub const MAX_QUEUE: &str = "flint.dev/max-queue";
    /// The most calls of it that a gateway takes, such as `50/s` or `50/s burst 200`.
    pub const RATE_LIMIT: &str = "flint.dev/rate-limit";
    /// When the image is pulled: `IfNotPresent` (the default), `Always` or `Never`.
    pub const IMAGE_PULL_POLICY: &str = "flint.dev/image-pull-policy";
    /// `none` leaves a function without a network; it is still called.
    pub const NETWORK: &str = "flint.dev/network";
    /// `required` refuses a deploy whose sandbox would have a gap on this machine.
    pub const SANDBOX: &str = "flint.dev/sandbox";
}

/// Largest sum of the lengths of labels, annotations and environment, in bytes.
const MAX_TEXT_BYTES: usize = 512 * 1024;

/// The keys of a deploy request.
const KEYS: &[&str] = &[
    "service",
    "image",
    "namespace",
    "envProcess",
    "envVars",
    "constraints",
    "secrets",
    "labels",
    "annotations",
    "limits",
    "requests",
    "readOnlyRootFilesystem",
    "registryAuth",
];

/// A function as it is deployed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Function {
    /// Its name, a DNS label.
    #[serde(deserialize_with = "null_is_default")]
    pub service: String,
    /// The image reference.
    #[serde(deserialize_with = "null_is_default")]
    pub image: String,
    /// Its namespace; empty is the default one.
    #[serde(deserialize_with = "null_is_default")]
    pub namespace: String,
    /// The process that the watchdog runs; becomes the variable `fprocess`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub env_process: String,
    /// Environment variables.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub env_vars: BTreeMap<String, String>,
    /// Where it may run, `key=value`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
    /// Names of secrets to mount.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Labels; some steer scaling.
    #[serde(deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
    /// The most it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// What is set aside for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Resources>,
    /// Whether its root file system is read-only.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub read_only_root_filesystem: bool,
    /// Registry credentials of this deploy, base64 of `user:password`. Never stored, never shown.
    #[serde(deserialize_with = "null_is_default", skip_serializing)]
    pub registry_auth: String,
}

/// Amounts of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory, such as `128Mi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// Processor, such as `100m` or `0.5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Most processes and threads, a whole number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<String>,
    /// Whole NVIDIA devices.
    #[serde(rename = "nvidia.com/gpu", skip_serializing_if = "Option::is_none")]
    pub nvidia_gpu: Option<String>,
    /// Whole AMD devices.
    #[serde(rename = "amd.com/gpu", skip_serializing_if = "Option::is_none")]
    pub amd_gpu: Option<String>,
    /// Whole Intel devices.
    #[serde(rename = "intel.com/gpu", skip_serializing_if = "Option::is_none")]
    pub intel_gpu: Option<String>,
}

impl fmt::Debug for Function {
    /// Values of variables may be secrets, so only what identifies the function is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("service", &self.service)
            .field("namespace", &self.namespace)
            .field("image", &self.image)
            .finish_non_exhaustive()
    }
}

impl Function {
    /// Reads a deploy request and checks it. An error names the field.
    pub fn from_json(body: &[u8]) -> Result<Self> {
        let mut function: Self = from_json(body, KEYS)?;
        if function.namespace.is_empty() {
            DEFAULT_NAMESPACE.clone_into(&mut function.namespace);
        }
        function.labels.remove(label::FUNCTION);
        function.validate()?;
        Ok(function)
    }

    /// Checks every field. An error names the field.
    pub fn validate(&self) -> Result<()> {
        self.name()?;
        check_image(&self.image)?;
        Reference::from_image(&self.image)?;
        check_environment(&self.env_vars)?;
        check_keys("labels", &self.labels)?;
        check_keys("annotations", &self.annotations)?;
        for secret in &self.secrets {
            check_secret_name(secret).map_err(|e| Error::invalid("secrets", e.to_string()))?;
        }
        for (field, resources) in [("limits", &self.limits), ("requests", &self.requests)] {
            resources.as_ref().map_or(Ok(()), |r| r.validate(field))?;
        }
        self.check_size()?;
        self.has_network()?;
        self.needs_sandbox()?;
        self.scale()?;
        self.check_limits()
    }

    /// Its name and namespace.
    pub fn name(&self) -> Result<Name> {
        Name::new(&self.service, &self.namespace)
    }

    /// Its bounds for scaling.
    pub fn scale(&self) -> Result<Scale> {
        Scale::from_labels(&self.labels)
    }

    /// Whether it may reach anything; the annotation `none` says that it may not.
    pub fn has_network(&self) -> Result<bool> {
        self.annotated(annotation::NETWORK, "none").map(|none| !none)
    }

    /// Whether it must not run with a gap in its sandbox.
    pub fn needs_sandbox(&self) -> Result<bool> {
        self.annotated(annotation::SANDBOX, "required")
    }

    /// Whether an annotation has the one value that it can have.
    fn annotated(&self, key: &str, value: &str) -> Result<bool> {
        match self.annotations.get(key).map(String::as_str) {
            None | Some("") => Ok(false),
            Some(text) if text == value => Ok(true),
            Some(text) => Err(Error::invalid(key, format!("{text:?} is not {value:?}"))),
        }
    }

    /// The variables that every backend gives to the process.
    ///
    /// The function's own win; its limits fill what they leave open, and contradict none.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        all.insert("OPENFAAS_NAME".to_owned(), self.service.clone());
        all.insert("OPENFAAS_NAMESPACE".to_owned(), self.namespace.clone());
        if !self.env_process.is_empty() {
            all.insert("fprocess".to_owned(), self.env_process.clone());
        }
        all.extend(self.env_vars.clone());
        all.extend(self.limit_variables());
        all
    }

    fn check_size(&self) -> Result<()> {
        let maps = [&self.env_vars, &self.labels, &self.annotations];
        let bytes: usize = maps.iter().flat_map(|m| m.iter()).map(|(k, v)| k.len() + v.len()).sum();
        if bytes <= MAX_TEXT_BYTES {
            return Ok(());
        }
        let reason = format!(
            "labels, annotations and environment are {bytes} bytes, at most {MAX_TEXT_BYTES} are allowed"
        );
        Err(Error::invalid("body", reason))
    }
}

impl Resources {
    /// Memory in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.memory.as_deref().and_then(parse_bytes)
    }

    /// Processor in thousandths of a core.
    pub fn cpu_millicores(&self) -> Option<u64> {
        self.cpu.as_deref().and_then(parse_millicores)
    }

    /// Most processes and threads.
    pub fn pids_max(&self) -> Option<i64> {
        self.pids.as_deref().and_then(|p| p.parse().ok()).filter(|p| *p > 0)
    }

    fn validate(&self, field: &str) -> Result<()> {
        let checks = [
            ("memory", &self.memory, self.memory_bytes().is_some(), "an amount such as 128Mi"),
            ("cpu", &self.cpu, self.cpu_millicores().is_some(), "an amount such as 100m or 0.5"),
            ("pids", &self.pids, self.pids_max().is_some(), "a whole number above 0"),
        ];
        for (key, text, good, want) in checks {
            if let (Some(text), false) = (text.as_deref().filter(|t| !t.is_empty()), good) {
                return Err(Error::invalid(
                    format!("{field}.{key}"),
                    format!("{text:?} is not {want}"),
                ));
            }
        }
        Ok(())
    }
}

fn check_image(image: &str) -> Result<()> {
    if image.is_empty() {
        return Err(Error::invalid("image", "is required"));
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
    if image.chars().all(good) && image.len() <= 1024 {
        return Ok(());
    }
    Err(Error::invalid("image", format!("{image:?} is not an image reference")))
}

fn check_environment(variables: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in variables {
        if key.is_empty() || key.contains(['=', '\0']) {
            let reason = format!("{key:?} is not a variable's name");
            return Err(Error::invalid("envVars", reason));
        }
        if value.contains('\0') {
            return Err(Error::invalid("envVars", format!("{key} holds a zero byte")));
        }
    }
    Ok(())
}

fn check_keys(field: &str, map: &BTreeMap<String, String>) -> Result<()> {
    match map.keys().find(|key| key.is_empty() || key.chars().any(char::is_control)) {
        Some(key) => Err(Error::invalid(field, format!("{key:?} is not a key"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"service":"echo","image":"flint/echo:1"}"#;

    fn error(body: &str) -> String {
        Function::from_json(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn keys_in_any_case_nulls_and_unknown_keys_are_taken() {
        let body = r#"{"Service":"echo","IMAGE":"i","labels":null,"envVars":{"a":"b"},"new":1,"network":"x"}"#;
        let function = Function::from_json(body.as_bytes()).unwrap();
        assert_eq!(function.name().unwrap().to_string(), "echo.openfaas-fn");
        assert_eq!(function.env_vars["a"], "b");
    }

    #[test]
    fn what_is_stored_reads_back_without_credentials() {
        let mut function = Function::from_json(GOOD.as_bytes()).unwrap();
        function.registry_auth = "c2VjcmV0".to_owned();
        let text = serde_json::to_string(&function).unwrap();
        assert!(!text.contains("c2VjcmV0"));
        let back = Function::from_json(text.as_bytes()).unwrap();
        assert_eq!(back, Function { registry_auth: String::new(), ..function });
    }

    #[test]
    fn errors_name_the_field() {
        let cases = [
            ("{", "body"),
            ("[]", "body"),
            (r#"{"image":"i"}"#, "service"),
            (r#"{"service":"Echo","image":"i"}"#, "service"),
            (r#"{"service":"echo"}"#, "image"),
            (r#"{"service":"echo","image":"a b"}"#, "image"),
            (r#"{"service":"echo","image":"i","envVars":{"a":1}}"#, "envVars.a"),
            (r#"{"service":"echo","image":"i","envVars":{"a=b":"1"}}"#, "envVars"),
            (r#"{"service":"echo","image":"i","labels":"x"}"#, "labels"),
            (r#"{"service":"echo","image":"i","secrets":["../x"]}"#, "secrets"),
            (r#"{"service":"echo","image":"i","limits":{"memory":"lots"}}"#, "limits.memory"),
            (
                r#"{"service":"echo","image":"i","annotations":{"flint.dev/timeout":"soon"}}"#,
                "flint.dev/timeout",
            ),
            (
                r#"{"service":"echo","image":"i","annotations":{"flint.dev/network":"some"}}"#,
                "flint.dev/network",
            ),
            (r#"{"service":"echo","image":"bundle:echo"}"#, "image"),
            (
                r#"{"service":"echo","image":"i","labels":{"com.openfaas.scale.min":"x"}}"#,
                "com.openfaas.scale.min",
            ),
            (r#"{"service":"echo","image":"i","namespace":"A"}"#, "namespace"),
        ];
        for (body, field) in cases {
            assert!(error(body).starts_with(field), "{body}: {}", error(body));
        }
    }

    #[test]
    fn the_environment_holds_name_process_and_timeouts() {
        let body = r#"{"service":"echo","image":"i","envProcess":"cat","envVars":{"write_timeout":"9m"},
            "annotations":{"flint.dev/timeout":"2m"}}"#;
        let all = Function::from_json(body.as_bytes()).unwrap().environment();
        assert_eq!(all["OPENFAAS_NAME"], "echo");
        assert_eq!(all["OPENFAAS_NAMESPACE"], "openfaas-fn");
        assert_eq!(all["fprocess"], "cat");
        assert_eq!(all["exec_timeout"], "2m");
        assert_eq!(all["write_timeout"], "9m");
    }

    #[test]
    fn debug_shows_no_values() {
        let body = r#"{"service":"echo","image":"i","envVars":{"PASSWORD":"hunter2"}}"#;
        let function = Function::from_json(body.as_bytes()).unwrap();
        assert!(!format!("{function:?}").contains("hunter2"));
    }
}
