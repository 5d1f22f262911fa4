//! Where things are for the function, and the environment that says so.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use provider::confine::{BUNDLE_DIR, Layout, RUN_DIR, SECRETS_DIR, SOCKET, Spec};

/// Where this program is in the sandbox.
pub(super) const WATCHDOG: &str = "/run/fwatchdog";

/// The `PATH` when the spec has none.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a function finds what is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) bundle: PathBuf,
    pub(super) run: PathBuf,
    pub(super) secrets: PathBuf,
    pub(super) tmp: PathBuf,
    pub(super) watchdog: PathBuf,
}

impl Places {
    /// In a root directory of its own.
    pub(super) fn inside() -> Self {
        Self {
            bundle: BUNDLE_DIR.into(),
            run: RUN_DIR.into(),
            secrets: SECRETS_DIR.into(),
            tmp: "/tmp".into(),
            watchdog: WATCHDOG.into(),
        }
    }

    /// In the machine's root directory.
    pub(super) fn outside(layout: &Layout, spec: &Spec, watchdog: &Path) -> Self {
        Self {
            bundle: spec.bundle.clone(),
            run: layout.run(),
            secrets: layout.secrets(),
            tmp: layout.tmp(),
            watchdog: watchdog.to_owned(),
        }
    }

    /// The watchdog's whole environment. What the function's owner sets wins, but for the socket
    /// that the gateway looks for.
    pub(super) fn environment(&self, spec: &Spec) -> BTreeMap<OsString, OsString> {
        let own: [(&str, OsString); 6] = [
            ("PATH", path(spec)),
            ("HOME", self.tmp.clone().into()),
            ("TMPDIR", self.tmp.clone().into()),
            ("secret_mount_path", self.secrets.clone().into()),
            ("port", "none".into()),
            ("metrics_port", "none".into()),
        ];
        let own = own.map(|(name, value)| (name.into(), value));
        let given = spec.environment.iter().map(|(name, value)| (name.into(), value.into()));
        let socket = ("listen_socket".into(), self.run.join(SOCKET).into());
        own.into_iter().chain(given).chain([socket]).collect()
    }
}

fn path(spec: &Spec) -> OsString {
    let joined = std::env::join_paths(&spec.path).unwrap_or_default();
    if joined.is_empty() { PATH.into() } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(places: &Places, pairs: &[(&str, &str)]) -> BTreeMap<OsString, OsString> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        places.environment(&Spec { environment: pairs.collect(), ..Spec::default() })
    }

    #[test]
    fn a_function_is_told_where_things_are() {
        let inside = environment(&Places::inside(), &[("mode", "http")]);
        let expected = [
            ("HOME", "/tmp"),
            ("PATH", PATH),
            ("TMPDIR", "/tmp"),
            ("listen_socket", "/run/flint/fn.sock"),
            ("metrics_port", "none"),
            ("mode", "http"),
            ("port", "none"),
            ("secret_mount_path", "/var/openfaas/secrets"),
        ];
        assert_eq!(inside, expected.map(|(name, value)| (name.into(), value.into())).into());
        let layout = Layout::new(Path::new("/r"));
        let outside = Places::outside(&layout, &Spec::default(), Path::new("/bin/fwatchdog"));
        let outside = environment(&outside, &[]);
        assert_eq!(outside[&OsString::from("listen_socket")], "/r/run/fn.sock");
        assert_eq!(outside[&OsString::from("secret_mount_path")], "/r/secrets");
        assert_eq!(outside[&OsString::from("HOME")], "/r/tmp");
    }

    #[test]
    fn its_owner_has_the_last_word_but_for_the_socket() {
        let pairs = [("HOME", "/x"), ("port", "0"), ("listen_socket", "/x")];
        let environment = environment(&Places::inside(), &pairs);
        assert_eq!(environment[&OsString::from("HOME")], "/x");
        assert_eq!(environment[&OsString::from("port")], "0");
        assert_eq!(environment[&OsString::from("listen_socket")], "/run/flint/fn.sock");
    }

    #[test]
    fn the_path_is_the_given_one() {
        let path = vec!["/a".into(), "/b".into()];
        let environment = Places::inside().environment(&Spec { path, ..Spec::default() });
        assert_eq!(environment[&OsString::from("PATH")], "/a:/b");
    }
}
