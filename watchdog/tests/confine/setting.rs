//! Who runs the confiner, and on what kind of kernel.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::geteuid;
use tempfile::TempDir;

/// The first user that is a test's own, when the tests are root's.
const FIRST_USER: u32 = 5_200_000;

/// The plain user, when the tests are root's: another one in each process of tests, since the kernel
/// counts a user's processes, and one test makes as many as it may.
fn plain_user() -> u32 {
    FIRST_USER + 2 * (std::process::id() % 1_000_000)
}

/// The user that root has functions run as.
fn function_user() -> u32 {
    plain_user() + 1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Root, with another user for functions.
    Root,
    /// Root, and functions are root's too.
    RootItself,
    /// Somebody else, with user namespaces.
    Plain,
    /// Somebody else, where there are no namespaces.
    Rules,
    /// Somebody else, in a container that covers parts of `/proc`.
    Covered,
}

impl Setting {
    pub(crate) const ALL: [Self; 5] =
        [Self::Root, Self::RootItself, Self::Plain, Self::Rules, Self::Covered];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::RootItself => "root itself",
            Self::Plain => "plain user",
            Self::Rules => "no namespaces",
            Self::Covered => "covered proc",
        }
    }

    /// Why it cannot be had here.
    pub(crate) fn absent(self) -> Option<String> {
        let root = geteuid().is_root();
        let needs_root = matches!(self, Self::Root | Self::RootItself | Self::Covered);
        if needs_root && !root {
            return Some("the tests do not run as root".to_owned());
        }
        if find("perl").is_none() {
            return Some("perl is missing, which makes the forbidden calls".to_owned());
        }
        if root && self.is_plain() && find("setpriv").is_none() {
            return Some("setpriv is missing, which makes root another user".to_owned());
        }
        let mut trial = match self {
            Self::Root | Self::RootItself => return None,
            Self::Plain => {
                let mut trial = as_plain_user("unshare");
                trial.args(["--user", "--map-current-user", "true"]);
                trial
            }
            Self::Rules | Self::Covered => self.command(Path::new("true")),
        };
        let tried = trial.stdin(Stdio::null()).output();
        match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(format!("{:?}: {error}", trial.get_program())),
        }
    }

    /// Whether the confiner is not root's.
    pub(crate) fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::Rules | Self::Covered)
    }

    /// Whether a replica has namespaces of its own.
    pub(crate) fn has_namespaces(self) -> bool {
        matches!(self, Self::Root | Self::RootItself | Self::Plain)
    }

    /// Who owns a replica's files.
    pub(crate) fn owner(self) -> u32 {
        let own = geteuid().as_raw();
        if self.is_plain() && own == 0 { plain_user() } else { own }
    }

    /// The user in the spec.
    pub(crate) fn spec_user(self) -> Option<u32> {
        (self == Self::Root).then(function_user)
    }

    /// Who a function is.
    pub(crate) fn user(self) -> u32 {
        self.spec_user().unwrap_or(self.owner())
    }

    /// Runs a program as the confiner is to be run.
    pub(crate) fn command(self, program: &Path) -> Command {
        match self {
            Self::Root | Self::RootItself => Command::new(program),
            Self::Plain => as_plain_user(program),
            Self::Rules => {
                let script = "echo 0 > /proc/sys/user/max_user_namespaces && \
                              exec setpriv --ambient-caps=-all --inh-caps=-all -- \"$@\"";
                let mut command = as_plain_user("unshare");
                command.args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", script]);
                command.arg("sh").arg(program);
                command
            }
            Self::Covered => {
                let script = "mount -t tmpfs none /proc/fs && exec setpriv --reuid \"$0\" --regid \
                              \"$0\" --clear-groups -- \"$@\"";
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", script]);
                command.arg(plain_user().to_string()).arg(program);
                command
            }
        }
    }

    /// Some other process of the user that a function is.
    pub(crate) fn bystander(self) -> Command {
        let user = self.user();
        if user == geteuid().as_raw() {
            return Command::new("sleep");
        }
        as_user(user, "sleep")
    }
}

/// Runs a program as the plain user.
fn as_plain_user(program: impl AsRef<Path>) -> Command {
    if geteuid().is_root() {
        as_user(plain_user(), program)
    } else {
        Command::new(program.as_ref())
    }
}

fn as_user(user: u32, program: impl AsRef<Path>) -> Command {
    let user = user.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command.arg(program.as_ref());
    command
}

/// Where the program under test is that everybody can reach. Nothing drops a static.
static COPY: Mutex<Option<TempDir>> = Mutex::new(None);

/// The program under test, where everybody can reach it.
pub(crate) fn program() -> PathBuf {
    let mut copy = COPY.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = copy.get_or_insert_with(|| {
        let dir = tempfile::tempdir().expect("a directory");
        open(dir.path());
        let path = dir.path().join("fwatchdog");
        fs::copy(env!("CARGO_BIN_EXE_fwatchdog"), path).expect("the program");
        dir
    });
    dir.path().join("fwatchdog")
}

/// Removes it, when the tests are over.
pub(crate) fn remove_program() {
    *COPY.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Lets everybody into a directory.
pub(crate) fn open(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("our directory");
}

/// Where a program of the system is.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
    dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}
