//! Bundles: a built function as one content-addressed archive, and how a deploy request names it.
//!
//! A bundle is a tar archive packed with zstd. Its digest is the SHA-256 of the archive's bytes.
//! Its top folder is what the function finds as its working directory; [`CONFIG_FILE`] in it says
//! how the function is run. [`Store`], behind the feature `bundles`, keeps them.

#[cfg(feature = "bundles")]
mod disk;
#[cfg(feature = "bundles")]
mod entries;
#[cfg(all(feature = "bundles", any(test, feature = "fake")))]
pub mod sample;
#[cfg(feature = "bundles")]
mod share;
#[cfg(feature = "bundles")]
mod store;
#[cfg(all(test, feature = "bundles"))]
mod store_tests;
#[cfg(feature = "bundles")]
mod unpack;
#[cfg(all(test, feature = "bundles"))]
mod unpack_tests;
#[cfg(feature = "bundles")]
mod upload;
#[cfg(feature = "bundles")]
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

#[cfg(feature = "bundles")]
pub use store::{Entry, Limits, Store};
#[cfg(feature = "bundles")]
pub use upload::{Put, Upload};

use crate::{Error, Result, is_dns_label};

/// Begins the image of a function that is a bundle.
const SCHEME: &str = "bundle:";
/// Begins a digest.
const ALGORITHM: &str = "sha256:";
/// Bytes of a digest.
const DIGEST_BYTES: usize = 32;
/// Where a bundle says how it is run.
pub const CONFIG_FILE: &str = ".flint/bundle.json";
/// The newest form of [`Config`] that is understood.
pub const SCHEMA: u32 = 1;
/// Media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.flint.bundle.v1.tar+zstd";

/// The SHA-256 of an archive, written `sha256:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_BYTES]);

/// What stands in the place of an image's name: `bundle:<name>@sha256:<digest>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// A name for people, a DNS label; usually the function's.
    pub name: String,
    /// The archive.
    pub digest: Digest,
}

/// How a bundle is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The form of this file.
    pub schema: u32,
    /// The template that it was made from, for messages.
    pub template: String,
    /// Variables of the watchdog, such as `fprocess` and `mode`; the function's own win.
    pub environment: BTreeMap<String, String>,
    /// Programs that must be on the machine that runs it.
    pub programs: Vec<Program>,
}

/// A program that a bundle needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// Its file name, looked up on the `PATH`.
    pub name: String,
    /// How to install it, for the error that says it is missing.
    pub install: String,
}

impl Digest {
    /// The digest with these bytes.
    pub fn new(bytes: [u8; DIGEST_BYTES]) -> Self {
        Self(bytes)
    }

    /// The hex digits alone: a file name.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad =
            || Error::invalid("digest", format!("{text:?} is not {ALGORITHM} and 64 hex digits"));
        let hex = text.strip_prefix(ALGORITHM).ok_or_else(bad)?;
        let small = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != 2 * DIGEST_BYTES || !hex.bytes().all(small) {
            return Err(bad());
        }
        let mut bytes = [0; DIGEST_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl Reference {
    /// Reads an image; `None` when it is not a bundle's. An error names the field `image`.
    pub fn from_image(image: &str) -> Result<Option<Self>> {
        let Some(rest) = image.strip_prefix(SCHEME) else { return Ok(None) };
        let bad = |reason: &str| Error::invalid("image", format!("{image:?} {reason}"));
        let form = "is not bundle:<name>@sha256:<64 hex digits>";
        let (name, digest) = rest.split_once('@').ok_or_else(|| bad(form))?;
        if !is_dns_label(name) {
            return Err(bad("has a name that is not a DNS label"));
        }
        let digest = digest.parse().map_err(|_| bad(form))?;
        Ok(Some(Self { name: name.to_owned(), digest }))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.name, self.digest)
    }
}

impl Config {
    /// Whether this version knows how to run it. An error names the field `bundle`.
    pub fn check(&self) -> Result<()> {
        let bad = |reason: String| Err(Error::invalid("bundle", reason));
        let environment = |name: &str| self.environment.get(name).map_or("", String::as_str);
        if self.schema == 0 {
            return bad(format!("{CONFIG_FILE} has no schema; this version writes {SCHEMA}"));
        }
        if self.schema > SCHEMA {
            return bad(format!(
                "was made by a newer faas (schema {}, known up to {SCHEMA}); update the gateway",
                self.schema
            ));
        }
        let process = ["fprocess", "function_process"].map(environment).concat();
        if process.trim().is_empty() && environment("mode") != "static" {
            return bad(format!("{CONFIG_FILE} says neither fprocess nor mode=static"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_reads_back_and_a_wrong_one_is_named() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let image = format!("bundle:echo@{digest}");
        let reference = Reference::from_image(&image).unwrap().unwrap();
        assert_eq!((reference.name.as_str(), reference.digest.to_string()), ("echo", digest));
        assert_eq!(reference.to_string(), image);
        assert_eq!(Reference::from_image("ghcr.io/a/echo:1").unwrap(), None);
        let upper = format!("bundle:echo@sha256:{}", "0A".repeat(32));
        for bad in ["bundle:", "bundle:echo", "bundle:echo@sha256:12", "bundle:../x@y", &upper] {
            let error = Reference::from_image(bad).unwrap_err().to_string();
            assert!(error.starts_with("image: "), "{error}");
        }
    }
}
