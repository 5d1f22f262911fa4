//! Basic auth: one user, one password (contract 1.3).

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, HeaderValue};
use subtle::ConstantTimeEq;

use crate::error::{Error, Result};

/// File of the user's name, in the state folder or the secret folder.
const USER_FILE: &str = "basic-auth-user";
/// File of the password.
const PASSWORD_FILE: &str = "basic-auth-password";
/// The user when none is given.
const DEFAULT_USER: &str = "admin";
/// Random bytes in a generated password.
const PASSWORD_BYTES: usize = 24;

/// The one user's credentials.
#[derive(Clone)]
pub struct Credentials {
    /// What a right `Authorization` header holds after `Basic `, decoded.
    expected: String,
}

/// Credentials that could not be read or made.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct CredentialsError {
    path: PathBuf,
    source: io::Error,
}

impl Credentials {
    /// Of a user and a password.
    pub fn new(user: &str, password: &str) -> Self {
        Self { expected: format!("{user}:{password}") }
    }

    /// Reads the two files of a folder.
    pub fn read(dir: &Path) -> Result<Self, CredentialsError> {
        Ok(Self::new(&read(dir, USER_FILE)?, &read(dir, PASSWORD_FILE)?))
    }

    /// Reads the two files of a folder, making those that are missing.
    pub fn read_or_create(dir: &Path) -> Result<Self, CredentialsError> {
        create(dir, USER_FILE, || Ok(DEFAULT_USER.to_owned()))?;
        create(dir, PASSWORD_FILE, random_password)?;
        Self::read(dir)
    }

    /// The `Authorization` header that this gateway, and any with the same credentials, lets in.
    pub fn header(&self) -> HeaderValue {
        let token = format!("Basic {}", STANDARD.encode(&self.expected));
        // Base64 is made of what a header may hold.
        let mut header = HeaderValue::from_str(&token).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    fn allow(&self, header: Option<&str>) -> bool {
        let token = header
            .and_then(|h| h.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let given = token.and_then(|(_, token)| STANDARD.decode(token.trim()).ok());
        given.is_some_and(|given| given.ct_eq(self.expected.as_bytes()).into())
    }
}

fn read(dir: &Path, file: &str) -> Result<String, CredentialsError> {
    let path = dir.join(file);
    let text = std::fs::read_to_string(&path).and_then(|text| match text.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, "is empty")),
        text => Ok(text.to_owned()),
    });
    text.map_err(|source| CredentialsError { path, source })
}

fn create(
    dir: &Path,
    file: &str,
    content: impl FnOnce() -> io::Result<String>,
) -> Result<(), CredentialsError> {
    let path = dir.join(file);
    let made = (|| {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if path.exists() {
            return Ok(());
        }
        let mut out =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        out.write_all(content()?.as_bytes())?;
        out.sync_all()
    })();
    made.map_err(|source| CredentialsError { path, source })
}

fn random_password() -> io::Result<String> {
    let mut bytes = [0; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Lets a request through that carries the credentials, or needs none.
///
/// Open are the redirect at `/` and the health check; whatever else the router holds, or does not
/// hold, asks.
pub async fn require(
    State(credentials): State<Option<Credentials>>,
    request: Request,
    next: Next,
) -> Result<Response> {
    let open = matches!(request.uri().path(), "/" | "/healthz");
    let header = request.headers().get(AUTHORIZATION).and_then(|h| h.to_str().ok());
    match credentials {
        Some(credentials) if !open && !credentials.allow(header) => Err(Error::Unauthorized),
        _ => Ok(next.run(request).await),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_right_header_is_let_in() {
        let credentials = Credentials::new("admin", "secret:with:colons");
        let header = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(credentials.allow(Some(&header("admin:secret:with:colons"))));
        assert!(
            credentials.allow(Some(&header("admin:secret:with:colons").replace("Basic", "basic")))
        );
        for bad in ["admin:secret", "admin:", ":", "", "root:secret:with:colons"] {
            assert!(!credentials.allow(Some(&header(bad))), "{bad}");
        }
        assert!(!credentials.allow(None));
        assert!(!credentials.allow(Some("Bearer x")));
        assert!(!credentials.allow(Some("Basic !!!")));
    }

    #[test]
    fn a_password_is_made_once_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        Credentials::read_or_create(dir.path()).unwrap();
        let path = dir.path().join(PASSWORD_FILE);
        let password = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(password.len() >= 32);
        Credentials::read_or_create(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), password);
    }

    #[test]
    fn an_empty_password_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(USER_FILE), "admin").unwrap();
        std::fs::write(dir.path().join(PASSWORD_FILE), "\n").unwrap();
        let error = Credentials::read(dir.path()).err().unwrap().to_string();
        assert!(error.contains(PASSWORD_FILE), "{error}");
    }
}
