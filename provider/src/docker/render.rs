//! From a function to the engine's container. No IO.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType,
    RestartPolicy, RestartPolicyNameEnum,
};

use crate::confine::{RUN_DIR, SECRETS_DIR, SOCKET};
use crate::replicas::deploy::Deploy;
use crate::replicas::files::ReplicaFiles;
use crate::{Function, Resources, Result};

/// Names of the gateway inside functions.
const GATEWAY_NAMES: [&str; 2] = ["gateway", "gateway.openfaas"];
/// Most processes and threads of a function that names no limit: far above what a server needs,
/// far below what would hurt the machine.
const DEFAULT_PIDS: i64 = 1024;
/// How large one log file gets, and how many are kept, where the engine itself sets no bound.
const LOG_BOUNDS: [(&str, &str); 2] = [("max-size", "10m"), ("max-file", "3")];

/// What a container needs to know beyond its function.
pub(super) struct Placement<'a> {
    /// The replica's id.
    pub(super) replica: &'a str,
    /// The image: its reference or its id.
    pub(super) image: String,
    /// The network, and so the gateway, that it belongs to.
    pub(super) network: &'a str,
    /// This machine on that network.
    pub(super) gateway: Ipv4Addr,
    /// The replica's own directories.
    pub(super) files: &'a ReplicaFiles,
    /// Whether log files must be bounded by us.
    pub(super) bound_logs: bool,
    /// How long whoever stops it should wait for it.
    pub(super) stop_timeout: Duration,
}

/// The container for one replica.
pub(super) fn container(deploy: &Deploy, place: &Placement<'_>) -> Result<ContainerCreateBody> {
    Ok(ContainerCreateBody {
        image: Some(place.image.clone()),
        env: Some(environment(&deploy.function)),
        labels: Some(deploy.labels(place.network, place.replica)?),
        stop_timeout: Some(place.stop_timeout.as_secs().try_into().unwrap_or(i64::MAX)),
        host_config: Some(host_config(&deploy.function, place)),
        ..Default::default()
    })
}

/// Sorted, so that the same function always gives the same container.
fn environment(function: &Function) -> Vec<String> {
    let mut all = function.environment();
    all.insert("listen_socket".to_owned(), format!("{RUN_DIR}/{SOCKET}"));
    all.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

fn host_config(function: &Function, place: &Placement<'_>) -> HostConfig {
    let hosts = GATEWAY_NAMES.map(|name| format!("{name}:{}", place.gateway));
    let networked = function.has_network().unwrap_or(true);
    let mounts =
        vec![bind(&place.files.run, RUN_DIR, false), bind(&place.files.secrets, SECRETS_DIR, true)];
    let config = HostConfig {
        network_mode: Some(if networked { place.network } else { "none" }.to_owned()),
        extra_hosts: networked.then(|| hosts.to_vec()),
        mounts: Some(mounts),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        }),
        init: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        log_config: place.bound_logs.then(bounded_logs),
        ..HostConfig::default()
    };
    with_limits(with_root(config, function), function)
}

fn bind(source: &Path, target: &str, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// `/tmp` is writable in every case; with a read-only root it is in memory.
fn with_root(config: HostConfig, function: &Function) -> HostConfig {
    if !function.read_only_root_filesystem {
        return config;
    }
    let tmp = ("/tmp".to_owned(), "rw,nosuid,nodev,mode=1777".to_owned());
    HostConfig { readonly_rootfs: Some(true), tmpfs: Some(HashMap::from([tmp])), ..config }
}

/// No swap beyond the memory limit: a function that swaps is slow for everybody.
fn with_limits(config: HostConfig, function: &Function) -> HostConfig {
    let limits = function.limits.clone().unwrap_or_default();
    let requests = function.requests.clone().unwrap_or_default();
    let memory = limits.memory_bytes().map(to_i64);
    HostConfig {
        memory,
        memory_swap: memory,
        memory_reservation: requests.memory_bytes().map(to_i64),
        nano_cpus: limits.cpu_millicores().map(|milli| to_i64(milli.saturating_mul(1_000_000))),
        cpu_shares: requests.cpu_millicores().map(|milli| to_i64((milli * 1024 / 1000).max(2))),
        pids_limit: Some(limits.pids_max().unwrap_or(DEFAULT_PIDS)),
        device_requests: nvidia(&limits),
        ..config
    }
}

fn nvidia(limits: &Resources) -> Option<Vec<DeviceRequest>> {
    let count = limits.nvidia_gpu.as_ref()?.parse().ok()?;
    Some(vec![DeviceRequest {
        driver: Some("nvidia".to_owned()),
        count: Some(count),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }])
}

fn bounded_logs() -> HostConfigLogConfig {
    let bounds = LOG_BOUNDS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(HashMap::from(bounds)) }
}

fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(body: &str) -> ContainerCreateBody {
        let function = Function::from_json(body.as_bytes()).unwrap();
        let deploy = Deploy {
            name: function.name().unwrap(),
            function,
            generation: 7,
            created_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let files =
            ReplicaFiles { dir: "/s".into(), run: "/s/run".into(), secrets: "/s/secrets".into() };
        let place = Placement {
            replica: "echo.1",
            image: "flint/echo:1".to_owned(),
            network: "net",
            gateway: Ipv4Addr::new(172, 18, 0, 1),
            files: &files,
            bound_logs: true,
            stop_timeout: Duration::from_secs(30),
        };
        container(&deploy, &place).unwrap()
    }

    #[test]
    fn every_function_is_fenced_in() {
        let body = render(r#"{"service":"echo","image":"i"}"#);
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_drop.unwrap(), ["ALL"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
        assert_eq!((host.init, host.pids_limit), (Some(true), Some(1024)));
        assert_eq!(host.extra_hosts.unwrap()[1], "gateway.openfaas:172.18.0.1");
        assert_eq!(host.network_mode.unwrap(), "net");
        assert_eq!(host.log_config.unwrap().config.unwrap()["max-size"], "10m");
        assert_eq!((host.memory, host.readonly_rootfs), (None, None));
        let mounts = host.mounts.unwrap();
        assert_eq!(mounts[1].target.as_deref(), Some("/var/openfaas/secrets"));
        assert_eq!((mounts[0].read_only, mounts[1].read_only), (Some(false), Some(true)));
        assert_eq!(body.stop_timeout, Some(30));
    }

    #[test]
    fn a_function_without_a_network_has_none() {
        let body =
            render(r#"{"service":"echo","image":"i","annotations":{"flint.dev/network":"none"}}"#);
        let host = body.host_config.unwrap();
        assert_eq!((host.network_mode.as_deref(), host.extra_hosts), (Some("none"), None));
    }

    #[test]
    fn the_environment_is_sorted_and_names_the_socket() {
        let body = render(
            r#"{"service":"echo","image":"i","envProcess":"cat","envVars":{"b":"2","a":"1","listen_socket":"/x"}}"#,
        );
        let want = [
            "OPENFAAS_NAME=echo",
            "OPENFAAS_NAMESPACE=openfaas-fn",
            "a=1",
            "b=2",
            "fprocess=cat",
            "listen_socket=/run/flint/fn.sock",
        ];
        assert_eq!(body.env.unwrap(), want);
    }

    #[test]
    fn limits_and_a_read_only_root() {
        let body = render(
            r#"{"service":"echo","image":"i","readOnlyRootFilesystem":true,
                "limits":{"memory":"64Mi","cpu":"250m","pids":"32","nvidia.com/gpu":"1"},
                "requests":{"memory":"32Mi","cpu":"100m"}}"#,
        );
        let host = body.host_config.unwrap();
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!(host.memory_reservation, Some(32 << 20));
        assert_eq!((host.nano_cpus, host.cpu_shares), (Some(250_000_000), Some(102)));
        assert_eq!((host.pids_limit, host.readonly_rootfs), (Some(32), Some(true)));
        assert!(host.tmpfs.unwrap().contains_key("/tmp"));
        assert_eq!(host.device_requests.unwrap()[0].count, Some(1));
    }
}
