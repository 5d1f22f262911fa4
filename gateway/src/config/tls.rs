//! The flags of TLS, and the certificate that they name.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use relay::{Tls, TlsError};

use super::ConfigError;

/// TLS, and who may go without.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// PEM file of the certificate and the chain above it; with it https is served at --tls-port,
    /// and the files may change at any time
    #[arg(long, env = "FAAS_TLS_CERT", value_name = "FAAS_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// PEM file of the certificate's key
    #[arg(long, env = "FAAS_TLS_KEY", value_name = "FAAS_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Port of the API and of function calls by https
    #[arg(long, env = "FAAS_TLS_PORT", value_name = "FAAS_TLS_PORT", default_value_t = 8443)]
    pub tls_port: u16,

    /// Who may call by plain http, at --port
    #[arg(long, env = "FAAS_PLAIN_HTTP", value_name = "FAAS_PLAIN_HTTP", default_value = "all")]
    pub plain_http: PlainHttp,
}

/// Who may call by plain http.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlainHttp {
    /// Everyone who reaches the gateway's address.
    All,
    /// Programs of this machine, and functions, which know the gateway as http://gateway:8080.
    Local,
    /// Nobody; functions cannot call each other either, unless they trust the certificate.
    Off,
}

impl TlsArgs {
    /// Reads the certificate, if one is named.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn open(&self) -> Result<Option<Tls>, ConfigError> {
        let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) else {
            return Ok(None);
        };
        Tls::open(certificate, key).map(Some).map_err(|error| bad_file(&error))
    }

    /// Checks what one flag alone cannot know; `others` are the ports that are taken.
    pub(crate) fn validate(&self, others: [u16; 2]) -> Result<(), ConfigError> {
        let plain = self.plain_http.to_possible_value();
        if self.tls_cert.is_none() && self.plain_http != PlainHttp::All {
            let value = plain.map(|value| value.get_name().to_owned()).unwrap_or_default();
            let reason =
                "leaves others no way in; name a certificate with --tls-cert and --tls-key";
            return Err(ConfigError::new("FAAS_PLAIN_HTTP", value, reason));
        }
        if self.tls_cert.is_some() && self.tls_port != 0 && others.contains(&self.tls_port) {
            let reason = "is the port of plain http or of the metrics too; choose another with \
                          --tls-port";
            return Err(ConfigError::new("FAAS_TLS_PORT", self.tls_port.to_string(), reason));
        }
        Ok(())
    }
}

fn bad_file(error: &TlsError) -> ConfigError {
    let (variable, flag) = match error.in_key {
        true => ("FAAS_TLS_KEY", "--tls-key"),
        false => ("FAAS_TLS_CERT", "--tls-cert"),
    };
    let reason = format!("{} ({flag})", error.reason);
    ConfigError::new(variable, error.path.display().to_string(), reason)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Config;

    fn checked(args: &[&str]) -> Result<(), String> {
        let args = std::iter::once(&"faas-gateway").chain(args);
        let config = Config::try_parse_from(args).map_err(|e| e.to_string())?;
        config.validate().map_err(|e| e.to_string())?;
        config.tls.open().map(drop).map_err(|e| e.to_string())
    }

    #[test]
    fn flags_that_cannot_work_are_named() {
        let with = |more: &[&'static str]| {
            checked(
                &[&["--tls-cert", "/none/tls.crt", "--tls-key", "/none/tls.key"], more].concat(),
            )
        };
        let error = with(&[]).unwrap_err();
        assert!(error.starts_with("FAAS_TLS_CERT=/none/tls.crt: No such file"), "{error}");
        assert!(error.ends_with("(--tls-cert)"), "{error}");
        for port in ["8080", "8082"] {
            let error = with(&["--tls-port", port]).unwrap_err();
            assert!(error.starts_with(&format!("FAAS_TLS_PORT={port}: ")), "{error}");
        }
        let error = checked(&["--tls-cert", "/none/tls.crt"]).unwrap_err();
        assert!(error.contains("--tls-key"), "{error}");
        for way in ["local", "off"] {
            let error = checked(&["--plain-http", way]).unwrap_err();
            assert!(error.starts_with(&format!("FAAS_PLAIN_HTTP={way}: ")), "{error}");
        }
        checked(&["--tls-port", "8080"]).unwrap();
    }
}
