//! The file with logins, `config.yml`: the same as the reference CLI's (contract 7.1).

use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use anyhow::{Context as _, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Environment, normal};
use crate::error::{caused, hinted};

/// Name of the file in its folder.
const FILE: &str = "config.yml";
/// Name of the folder, in the home directory or, on CI, in the working directory.
const FOLDER: &str = ".openfaas";

/// The file with logins.
#[derive(Debug, Default)]
pub struct ConfigFile {
    path: Option<PathBuf>,
    logins: Logins,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Logins {
    auths: Option<Vec<Auth>>,
}

/// The login of one gateway.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// The gateway's URL.
    pub gateway: String,
    /// What the token is.
    pub auth: AuthKind,
    /// Base64 of `user:password`, or a JWT.
    pub token: String,
    /// Further settings, kept as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<serde_yaml::Value>,
}

/// What a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// User and password.
    #[default]
    Basic,
    /// A bearer token.
    Oauth2,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("gateway", &self.gateway).finish_non_exhaustive()
    }
}

impl Auth {
    /// A login with user and password.
    pub fn basic(gateway: &str, user: &str, password: &str) -> Self {
        let token = STANDARD.encode(format!("{user}:{password}"));
        Self { gateway: gateway.to_owned(), auth: AuthKind::Basic, token, options: None }
    }
}

impl ConfigFile {
    /// Reads the file. One that is not there is empty.
    pub fn load(env: &Environment) -> Result<Self> {
        let Some(path) = path(env) else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let logins: Option<Logins> = serde_yaml::from_str(&text).map_err(|e| {
            let hint = "mend the file, or remove it and log in again";
            caused(format!("{} holds no logins", path.display()), hint, e)
        })?;
        Ok(Self { path: Some(path), logins: logins.unwrap_or_default() })
    }

    /// The login of a gateway.
    pub fn auth(&self, gateway: &str) -> Option<&Auth> {
        self.logins.auths.iter().flatten().find(|auth| same(&auth.gateway, gateway))
    }

    /// Puts a login in the place of the gateway's old one.
    pub fn set(&mut self, auth: Auth) {
        let auths = self.logins.auths.get_or_insert_default();
        match auths.iter_mut().find(|old| same(&old.gateway, &auth.gateway)) {
            Some(old) => *old = auth,
            None => auths.push(auth),
        }
    }

    /// Removes a gateway's login; whether there was one.
    pub fn remove(&mut self, gateway: &str) -> bool {
        let auths = self.logins.auths.get_or_insert_default();
        let before = auths.len();
        auths.retain(|auth| !same(&auth.gateway, gateway));
        auths.len() < before
    }

    /// Writes the file, whole or not at all, for its owner only.
    pub fn save(&self) -> Result<()> {
        let Some(path) = &self.path else {
            let hint = "set HOME, or OPENFAAS_CONFIG to a folder";
            return Err(hinted("there is no place to save the login", hint));
        };
        let text = serde_yaml::to_string(&self.logins)?;
        write_private(path, &text).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn path(env: &Environment) -> Option<PathBuf> {
    let folder = match (&env.config_dir, env.ci, &env.home) {
        (Some(dir), _, _) => dir.clone(),
        (None, true, _) => PathBuf::from(FOLDER),
        (None, false, home) => home.as_ref()?.join(FOLDER),
    };
    Some(folder.join(FILE))
}

/// Old files may hold URLs in other spellings.
fn same(left: &str, right: &str) -> bool {
    normal(left).eq_ignore_ascii_case(&normal(right))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    // Temporary files are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn in_folder(folder: &Path) -> Environment {
        Environment { config_dir: Some(folder.to_owned()), ..Default::default() }
    }

    #[test]
    fn the_folder_is_named_or_on_ci_or_at_home() {
        let home = Some(PathBuf::from("/home/a"));
        let mut env = Environment { home, ..Default::default() };
        assert_eq!(path(&env), Some(PathBuf::from("/home/a/.openfaas/config.yml")));
        env.ci = true;
        assert_eq!(path(&env), Some(PathBuf::from(".openfaas/config.yml")));
        env.config_dir = Some(PathBuf::from("/etc/x"));
        assert_eq!(path(&env), Some(PathBuf::from("/etc/x/config.yml")));
        assert_eq!(path(&Environment::default()), None);
    }

    #[test]
    fn what_is_saved_reads_back_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let env = in_folder(&folder.path().join("new"));
        let mut file = ConfigFile::load(&env).unwrap();
        file.set(Auth::basic("http://a:8080", "admin", "old"));
        file.set(Auth::basic("http://b", "admin", "b"));
        file.set(Auth::basic("http://A:8080/", "admin", "new"));
        file.save().unwrap();

        let mut back = ConfigFile::load(&env).unwrap();
        assert_eq!(back.auth("http://a:8080").unwrap().token, "YWRtaW46bmV3");
        assert!(back.remove("http://a:8080") && !back.remove("http://a:8080"));
        assert!(back.auth("http://b").is_some());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path(&env).unwrap()), 0o600);
        assert_eq!(mode(&folder.path().join("new")), 0o700);
    }

    #[test]
    fn files_of_the_reference_are_read_and_options_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = "auths:\n- gateway: https://x\n  auth: oauth2\n  token: t\n  \
                    options:\n  - name: scope\n    value: all\n";
        fs::write(folder.path().join(FILE), text).unwrap();
        let env = in_folder(folder.path());
        let file = ConfigFile::load(&env).unwrap();
        assert_eq!(file.auth("https://X/").unwrap().auth, AuthKind::Oauth2);
        file.save().unwrap();
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.contains("name: scope"), "{text}");
    }

    #[test]
    fn odd_files() {
        let folder = tempfile::tempdir().unwrap();
        let env = in_folder(folder.path());
        for (text, good) in [("", true), ("auths: []\n", true), ("auths:\n", true), ("]", false)] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert_eq!(ConfigFile::load(&env).is_ok(), good, "{text:?}");
        }
    }
}
