//! Where the programs are that functions need, and which folders they live from.
//!
//! A function in a sandbox sees the system's own folders. A Node or a Python from elsewhere, such as
//! a version manager's, needs its installation beside it; and what lies on the `PATH` may be a
//! script that only looks for the program proper, which could not do so in there.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::bundle::Program;
use crate::{Error, Result};

/// Folders that every function may read.
const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Where package managers keep programs and their libraries in folders that need each other.
const STORES: [&str; 3] = ["/nix/store", "/gnu/store", "/home/linuxbrew/.linuxbrew"];
/// Folders of other people's folders.
const HOMES: [&str; 2] = ["/home", "/Users"];
/// What an interpreter of Python is asked: where it is, and where its modules are.
const ASK_PYTHON: &str = "import sys, sysconfig as c
print(sys.executable, sys.base_prefix, sys.prefix, *map(c.get_path, ('stdlib', 'platstdlib', 'purelib', 'platlib')), sep='\\n')";
/// What Node is asked.
const ASK_NODE: &str = "process.execPath";
/// Longest that an interpreter may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks whether it has.
const ANSWER_PAUSE: Duration = Duration::from_millis(2);
/// How many characters of its complaint are shown.
const COMPLAINT_CHARS: usize = 300;

/// A program that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The program itself, all links and scripts followed.
    pub exe: PathBuf,
    /// The folder in which it has its name; for a `PATH`.
    pub dir: PathBuf,
    /// What it reads beyond the system's own folders.
    pub readable: Vec<PathBuf>,
}

/// Finds programs, and remembers where they were.
#[derive(Debug)]
pub struct Programs {
    path: OsString,
    home: Option<PathBuf>,
    private: Vec<PathBuf>,
    /// By name, by the file that was found on the `PATH`, and by its time of change.
    known: Mutex<HashMap<(String, PathBuf, SystemTime), Found>>,
}

impl Programs {
    /// Looks on this `PATH`. The home and the private folders are never granted as a whole.
    pub fn new(path: &OsStr, home: Option<PathBuf>, private: Vec<PathBuf>) -> Self {
        Self { path: path.to_owned(), home, private, known: Mutex::default() }
    }

    /// Finds a program that a bundle needs. It may be started to ask for its folders: this blocks.
    /// An error names the program, the template and how to install it.
    pub fn find(&self, program: &Program, template: &str) -> Result<Found> {
        let Program { name, install } = program;
        let needs = format!("the template {template:?} needs the program {name:?}");
        let Some((file, changed)) = self.look_up(name) else {
            let install = if install.is_empty() { name } else { install };
            let reason = format!("{needs}, which is not on this machine's PATH: install {install}");
            return Err(Error::invalid("image", reason));
        };
        let key = (name.clone(), file, changed);
        if let Some(found) = self.recall(&key) {
            return Ok(found);
        }
        let found = self.examine(name, &key.1).map_err(|e| {
            let file = key.1.display();
            Error::invalid("image", format!("{needs}, but {file} cannot be used: {e}"))
        })?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, found.clone());
        Ok(found)
    }

    /// What was found before, if it is still there: a manager may have removed the version that
    /// its script led to.
    fn recall(&self, key: &(String, PathBuf, SystemTime)) -> Option<Found> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|found| found.exe.exists()).cloned()
    }

    /// The first file of that name on the `PATH` that can be run.
    fn look_up(&self, name: &str) -> Option<(PathBuf, SystemTime)> {
        let dirs = std::env::split_paths(&self.path).filter(|dir| dir.is_absolute());
        let runnable = |file: PathBuf| {
            let metadata = file.metadata().ok()?;
            let good = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
            Some((file, metadata.modified().ok()?)).filter(|_| good)
        };
        dirs.map(|dir| dir.join(name)).find_map(runnable)
    }

    fn examine(&self, name: &str, file: &Path) -> io::Result<Found> {
        let is_python = name.strip_prefix("python");
        if is_python.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.')) {
            return self.examine_python(name, file);
        }
        if name == "node" {
            let answer = self.ask(file, &["-p", ASK_NODE])?;
            let exe = Path::new(answer.trim_end()).canonicalize()?;
            return self.found(name, file, &exe);
        }
        self.found(name, file, &file.canonicalize()?)
    }

    /// A virtual environment's interpreter is a link to another's: it keeps its own place, since
    /// its modules are found by that, and needs both.
    fn examine_python(&self, name: &str, file: &Path) -> io::Result<Found> {
        let answer = self.ask(file, &["-I", "-c", ASK_PYTHON])?;
        let lines: Vec<&Path> = answer.lines().map(Path::new).collect();
        let [exe, base, prefix, modules @ ..] = lines.as_slice() else {
            return Err(io::Error::other("it did not say where it is"));
        };
        let real = exe.canonicalize()?;
        let config = prefix.join("pyvenv.cfg");
        let mut parts = vec![*exe, &real, &config];
        parts.extend(modules);
        let mut readable = Vec::new();
        for whole in [base, prefix] {
            if self.may_grant(whole) {
                readable.push(whole.to_path_buf());
            } else {
                let inside = parts.iter().filter(|part| part.starts_with(whole) && part.exists());
                readable.extend(inside.map(|part| part.to_path_buf()));
            }
        }
        readable.push(real.clone());
        let dir = dir_of(name, exe, file);
        readable.extend((dir != dir_of(name, exe, exe)).then(|| file.to_owned()));
        Ok(Found { exe: real, dir, readable: minimal(readable) })
    }

    /// A program in a `bin` folder, with the installation around it where that is one's own.
    fn found(&self, name: &str, file: &Path, exe: &Path) -> io::Result<Found> {
        let parent = exe.parent().filter(|dir| dir.file_name() == Some(OsStr::new("bin")));
        let prefix = parent.and_then(Path::parent);
        // In a home it may lie beside anything; only Node is known to have an installation there.
        let at_home = self.home.as_ref().is_some_and(|home| exe.starts_with(home));
        let whole = prefix.filter(|whole| self.may_grant(whole) && (name == "node" || !at_home));
        let mut readable = vec![whole.unwrap_or(exe).to_owned(), exe.to_owned()];
        let dir = dir_of(name, exe, file);
        readable.extend((dir != dir_of(name, exe, exe)).then(|| file.to_owned()));
        Ok(Found { exe: exe.to_owned(), dir, readable: minimal(readable) })
    }

    /// Whether a folder holds an installation and nothing else, as far as its place tells.
    fn may_grant(&self, folder: &Path) -> bool {
        let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        [folder, &real].into_iter().all(|folder| {
            let parent = folder.parent().unwrap_or(folder);
            let hidden = folder.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"."));
            let home = self.home.as_deref().unwrap_or(Path::new("/"));
            let in_home = hidden
                && (parent == home || HOMES.iter().any(|h| parent.parent() == Some(Path::new(h))));
            let top = parent == Path::new("/") || folder == Path::new("/");
            let whose = HOMES.iter().any(|homes| parent == Path::new(homes));
            let private =
                self.private.iter().any(|p| p.starts_with(folder) || folder.starts_with(p));
            !(top || whose || in_home || private || home.starts_with(folder))
        })
    }

    /// Runs a program for its answer.
    fn ask(&self, file: &Path, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new(file);
        // Version managers look at the working directory.
        command.args(arguments).env("PATH", &self.path).current_dir("/").stdin(Stdio::null());
        let output = output_in_time(&mut command, ANSWER_LIMIT)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let complaint: String = complaint.trim().chars().take(COMPLAINT_CHARS).collect();
        Err(io::Error::other(format!("{}: {complaint}", output.status)))
    }
}

/// The folder in which a program has that name: its own, or the one where it was found.
fn dir_of(name: &str, exe: &Path, file: &Path) -> PathBuf {
    let of = |file: &Path| file.parent().unwrap_or(Path::new("/")).to_owned();
    let own = of(exe);
    if own.join(name).exists() { own } else { of(file) }
}

/// Without what the system has, and without what is in another one; stores as a whole.
fn minimal(all: Vec<PathBuf>) -> Vec<PathBuf> {
    let in_store = |path: PathBuf| {
        let store = STORES.iter().find(|store| path.starts_with(store));
        store.map_or(path, PathBuf::from)
    };
    let is_system = |path: &PathBuf| SYSTEM.iter().any(|system| path.starts_with(system));
    let mut all: Vec<_> = all.into_iter().map(in_store).filter(|path| !is_system(path)).collect();
    all.sort();
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in all {
        if !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.push(path);
        }
    }
    kept
}

/// Runs a program to its end, or kills it when that takes too long. Its output must be short.
fn output_in_time(command: &mut Command, limit: Duration) -> io::Result<Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let late = Instant::now() + limit;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= late {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::other(format!("no answer for {} s", limit.as_secs())));
        }
        sleep(ANSWER_PAUSE);
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().map(|mut pipe| pipe.read_to_end(&mut stdout)).transpose()?;
    child.stderr.take().map(|mut pipe| pipe.read_to_end(&mut stderr)).transpose()?;
    Ok(Output { status, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Written by another process: what we have open for writing can be run by nobody.
    fn script(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("#!/bin/sh\n{text}");
        let write = r#"printf '%s\n' "$1" >"$2" && chmod 755 "$2""#;
        let mut shell = Command::new("sh");
        assert!(shell.args(["-c", write, "sh", &text]).arg(path).status().unwrap().success());
    }

    fn program(name: &str) -> Program {
        Program { name: name.to_owned(), install: format!("{name} 1.0 or newer") }
    }

    /// A home with nothing in it, and what is found on a `PATH` of these folders.
    fn programs(home: &Path, path: &[&Path]) -> Programs {
        let path = std::env::join_paths(path).unwrap();
        Programs::new(&path, Some(home.to_owned()), vec![home.join("state")])
    }

    fn temp() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap().join("user");
        fs::create_dir(&home).unwrap();
        (dir, home)
    }

    #[test]
    fn a_missing_program_is_named_with_the_template_and_how_to_install_it() {
        let (_dir, home) = temp();
        fs::write(home.join("node"), "not to be run").unwrap();
        let error = programs(&home, &[&home]).find(&program("node"), "node22").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("image: "), "{text}");
        for part in ["\"node\"", "\"node22\"", "install node 1.0 or newer"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn the_systems_own_need_nothing() {
        let (_dir, home) = temp();
        let found = programs(&home, &[Path::new("/usr/bin")]).find(&program("sh"), "t").unwrap();
        assert_eq!((found.dir.as_path(), found.readable), (Path::new("/usr/bin"), Vec::new()));
    }

    #[test]
    fn a_managers_script_leads_to_the_program_proper() {
        let (_dir, home) = temp();
        let version = home.join(".manager/versions/20");
        script(&version.join("bin/node"), &format!("echo {}", version.join("bin/node").display()));
        let shim = home.join(".manager/shims/node");
        script(&shim, &format!("exec {} \"$@\"", version.join("bin/node").display()));
        let programs = programs(&home, &[shim.parent().unwrap()]);
        let found = programs.find(&program("node"), "node22").unwrap();
        assert_eq!((&found.exe, &found.dir), (&version.join("bin/node"), &version.join("bin")));
        assert_eq!(found.readable, std::slice::from_ref(&version));
        // The same file is not asked again, one that changed is, and one that leads nowhere too.
        fs::remove_dir_all(&version).unwrap();
        let error = programs.find(&program("node"), "node22").unwrap_err().to_string();
        assert!(error.contains("cannot be used"), "{error}");
    }

    #[test]
    fn a_python_brings_its_modules_and_a_virtual_environment_both_places() {
        let (_dir, home) = temp();
        let (base, venv) = (home.join("pythons/3.11"), home.join("work/venv"));
        for (place, name) in [(&base, "lib"), (&venv, "lib")] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        let lines = [venv.join("bin/python3"), base.clone(), venv.clone(), base.join("lib")];
        let lines = lines.map(|path| format!("echo {}", path.display())).join("\n");
        script(&base.join("bin/python3"), &lines);
        fs::create_dir_all(venv.join("bin")).unwrap();
        symlink(base.join("bin/python3"), venv.join("bin/python3")).unwrap();
        let found = programs(&home, &[&venv.join("bin")]).find(&program("python3"), "t").unwrap();
        assert_eq!((found.exe, found.dir), (base.join("bin/python3"), venv.join("bin")));
        assert_eq!(found.readable, [base, venv]);
    }

    #[test]
    fn a_home_is_never_granted_only_what_is_needed_of_it() {
        let (_dir, home) = temp();
        let hidden = home.join(".local");
        for prefix in [&home, &hidden] {
            fs::create_dir_all(prefix.join("lib/python3.11")).unwrap();
            let exe = prefix.join("bin/python3");
            let lines = [&exe, prefix, prefix, &prefix.join("lib/python3.11")];
            let lines = lines.map(|path| format!("echo {}", path.display())).join("\n");
            script(&exe, &lines);
            let bin = prefix.join("bin");
            let found = programs(&home, &[&bin]).find(&program("python3"), "t").unwrap();
            assert_eq!(found.readable, [exe, prefix.join("lib/python3.11")]);
            script(&bin.join("deno"), "");
            let found = programs(&home, &[&bin]).find(&program("deno"), "t").unwrap();
            assert_eq!(found.readable, [bin.join("deno")]);
        }
    }

    #[test]
    fn what_may_be_granted_is_an_installation() {
        let programs = Programs::new(
            OsStr::new(""),
            Some("/home/me".into()),
            vec!["/var/lib/flint".into(), "/home/me/.flint".into()],
        );
        let bad = [
            "/",
            "/home",
            "/opt",
            "/root",
            "/home/me",
            "/home/you",
            "/home/you/.cache",
            "/home/me/.cargo",
            "/var/lib",
            "/var/lib/flint",
            "/var/lib/flint/replicas",
            "/home/me/.flint/x",
        ];
        for bad in bad {
            assert!(!programs.may_grant(Path::new(bad)), "{bad}");
        }
        for good in ["/opt/node", "/home/me/.pyenv/versions/3", "/home/me/miniconda3", "/root/a"] {
            assert!(programs.may_grant(Path::new(good)), "{good}");
        }
    }

    #[test]
    fn stores_are_granted_whole() {
        let all = ["/nix/store/abc-node/bin/node", "/usr/lib/x", "/opt/a/b", "/opt/a"];
        assert_eq!(
            minimal(all.map(PathBuf::from).to_vec()),
            [PathBuf::from("/nix/store"), PathBuf::from("/opt/a")]
        );
    }

    #[test]
    fn a_program_that_does_not_answer_is_killed() {
        let mut sleeper = Command::new("sleep");
        let error = output_in_time(sleeper.arg("1000"), Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().contains("no answer"), "{error}");
    }

    #[test]
    fn the_real_interpreters_are_found_where_they_are_installed() {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let programs = Programs::new(&path, home.clone(), Vec::new());
        for name in ["python3", "node"] {
            let Ok(found) = programs.find(&program(name), "t") else { continue };
            assert!(found.dir.join(name).exists(), "{found:?}");
            assert!(found.exe.is_absolute() && found.exe.exists(), "{found:?}");
            assert!(
                !found.readable.iter().any(|p| home.as_ref().is_some_and(|h| h.starts_with(p)))
            );
        }
    }
}
