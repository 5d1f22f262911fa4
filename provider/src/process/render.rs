//! From a function and its bundle to what the confiner is told. No IO.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::bundle::Config;
use crate::confine::{Limits, Network, Spec};
use crate::programs::Found;
use crate::{Function, Result};

/// Most processes and threads of a function that names no limit: far above what a server needs,
/// far below what would hurt the machine.
const DEFAULT_PIDS: u64 = 1024;
/// Most open files of one process of a function.
const OPEN_FILES: u64 = 65536;
/// How large a replica's log gets before it is put aside; there are two of them at most.
const LOG_BYTES: u64 = 10 << 20;
/// Where the system's programs are.
const SYSTEM_PATH: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The first of the users that replicas are given by a gateway which runs as root: far above those
/// of people, of packages and of containers.
pub(super) const FIRST_USER: u32 = 2_000_000_000;
/// The watchdog's TCP listeners. All functions share the machine's ports, so none gets any.
const NO_PORTS: [&str; 2] = ["port", "metrics_port"];

/// What a replica needs to know beyond its function.
pub(super) struct Place<'a> {
    /// The sandbox's name, which no other on this machine has.
    pub(super) name: &'a str,
    /// The unpacked bundle.
    pub(super) bundle: &'a Path,
    /// How the bundle is run.
    pub(super) config: &'a Config,
    /// The programs that it needs.
    pub(super) programs: &'a [Found],
    /// Names and addresses that functions with a network know.
    pub(super) hosts: &'a BTreeMap<String, IpAddr>,
    /// The user that it runs as.
    pub(super) user: Option<u32>,
    /// Most open files that this gateway may hand out.
    pub(super) most_files: Option<u64>,
}

/// The confiner's orders for one replica.
pub(super) fn spec(function: &Function, place: &Place<'_>) -> Result<Spec> {
    let networked = function.has_network()?;
    let limits = function.limits.clone().unwrap_or_default();
    let pids = limits.pids_max().and_then(|pids| u64::try_from(pids).ok());
    Ok(Spec {
        replica: place.name.to_owned(),
        bundle: place.bundle.to_owned(),
        environment: environment(function, place.config),
        path: path(place.programs),
        readable: readable(place.programs),
        limits: Limits {
            memory: limits.memory_bytes(),
            cpu: limits.cpu_millicores(),
            pids: pids.unwrap_or(DEFAULT_PIDS),
            files: place.most_files.unwrap_or(OPEN_FILES).min(OPEN_FILES),
        },
        network: if networked { Network::Host } else { Network::None },
        hosts: if networked { place.hosts.clone() } else { BTreeMap::new() },
        user: place.user,
        required: function.needs_sandbox()?,
        log_bytes: LOG_BYTES,
    })
}

/// The bundle's variables, and the function's, which win.
fn environment(function: &Function, config: &Config) -> BTreeMap<String, String> {
    let mut all = config.environment.clone();
    all.extend(function.environment());
    all.extend(NO_PORTS.map(|key| (key.to_owned(), "none".to_owned())));
    all
}

/// The folders of the programs come first: a manager's Python goes before the system's.
fn path(programs: &[Found]) -> Vec<PathBuf> {
    let system = SYSTEM_PATH.map(PathBuf::from);
    let own = programs.iter().map(|found| found.dir.clone()).filter(|dir| !system.contains(dir));
    let mut seen = BTreeSet::new();
    let mut all: Vec<_> = own.collect();
    all.extend(system.iter().cloned());
    all.retain(|dir| seen.insert(dir.clone()));
    all
}

fn readable(programs: &[Found]) -> Vec<PathBuf> {
    let all: BTreeSet<_> = programs.iter().flat_map(|found| found.readable.clone()).collect();
    all.into_iter().collect()
}

/// The lowest user that none of these has.
pub(super) fn free_user(taken: &BTreeSet<u32>) -> u32 {
    (FIRST_USER..).find(|user| !taken.contains(user)).unwrap_or(FIRST_USER)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(body: &str) -> Spec {
        let config = Config {
            environment: [("fprocess", "node index.js"), ("mode", "http"), ("a", "bundle")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Config::default()
        };
        let found = |dir: &str, readable: &[&str]| Found {
            exe: Path::new(dir).join("x"),
            dir: dir.into(),
            readable: readable.iter().map(PathBuf::from).collect(),
        };
        let place = Place {
            name: "echo-1",
            bundle: Path::new("/s/bundles/1"),
            config: &config,
            programs: &[found("/usr/bin", &[]), found("/opt/py/bin", &["/opt/py"])],
            hosts: &[("gateway".to_owned(), IpAddr::from([127, 0, 0, 1]))].into(),
            user: Some(FIRST_USER),
            most_files: Some(4096),
        };
        spec(&Function::from_json(body.as_bytes()).unwrap(), &place).unwrap()
    }

    #[test]
    fn a_plain_function_is_bounded_and_finds_its_programs() {
        let spec = render(r#"{"service":"echo","image":"i"}"#);
        assert_eq!((spec.limits.pids, spec.limits.files), (1024, 4096));
        assert_eq!((spec.limits.memory, spec.limits.cpu), (None, None));
        assert_eq!(spec.path[..2], [Path::new("/opt/py/bin"), Path::new("/usr/local/sbin")]);
        assert_eq!(spec.path.len(), 7, "each folder once");
        assert_eq!(spec.readable, [Path::new("/opt/py")]);
        assert_eq!((spec.network, spec.hosts.len()), (Network::Host, 1));
        assert_eq!(
            (spec.user, spec.required, spec.log_bytes),
            (Some(FIRST_USER), false, LOG_BYTES)
        );
        assert_eq!((spec.replica.as_str(), spec.bundle), ("echo-1", "/s/bundles/1".into()));
    }

    #[test]
    fn the_functions_variables_win_but_none_opens_a_port() {
        let spec = render(
            r#"{"service":"echo","image":"i","envProcess":"python3 -u x",
                "envVars":{"a":"own","port":"8080","metrics_port":"8081"}}"#,
        );
        let want = [
            ("OPENFAAS_NAME", "echo"),
            ("OPENFAAS_NAMESPACE", "openfaas-fn"),
            ("a", "own"),
            ("fprocess", "python3 -u x"),
            ("metrics_port", "none"),
            ("mode", "http"),
            ("port", "none"),
        ];
        let got: Vec<_> = spec.environment.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn limits_network_and_sandbox_are_as_wished() {
        let spec = render(
            r#"{"service":"echo","image":"i",
                "limits":{"memory":"64Mi","cpu":"250m","pids":"32"},"requests":{"memory":"1Gi"},
                "annotations":{"flint.dev/network":"none","flint.dev/sandbox":"required"}}"#,
        );
        let limits = Limits { memory: Some(64 << 20), cpu: Some(250), pids: 32, files: 4096 };
        assert_eq!(spec.limits, limits);
        assert_eq!((spec.network, spec.hosts.len(), spec.required), (Network::None, 0, true));
    }

    #[test]
    fn the_lowest_free_user_is_taken() {
        assert_eq!(free_user(&BTreeSet::new()), FIRST_USER);
        let taken = BTreeSet::from([FIRST_USER, FIRST_USER + 2]);
        assert_eq!(free_user(&taken), FIRST_USER + 1);
    }
}
