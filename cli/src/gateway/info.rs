//! What the gateway says of itself, and whether it is there (contract 1.8).

use std::time::Duration;

use anyhow::Result;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Gateway;

/// What a gateway says of itself. Anything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The gateway's version.
    pub gateway: Version,
    /// The provider's name.
    pub provider: String,
    /// What runs the functions.
    pub orchestration: String,
    /// The provider's version.
    pub provider_version: Version,
}

/// A version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The release.
    pub release: String,
    /// The commit.
    pub sha: String,
}

impl Gateway {
    /// What the gateway says of itself.
    pub async fn info(&self, limit: Duration) -> Result<Info> {
        let what = "cannot ask for the gateway's version";
        let request = self.request(Method::GET, "/system/info");
        let answer = self.ask_within(limit, request).await?.success(what)?;
        Ok(Info::read(&answer.json(what)?))
    }

    /// Whether the gateway says that it is well.
    pub async fn is_healthy(&self, limit: Duration) -> Result<bool> {
        let answer = self.ask_within(limit, self.request(Method::GET, "/healthz")).await?;
        Ok(answer.status == StatusCode::OK)
    }
}

impl Info {
    /// Reads what is there; gateways with a broken provider say `null` (contract 1.8).
    pub(super) fn read(answer: &Value) -> Self {
        let text = |path: &str| {
            answer.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        Self {
            gateway: Version { release: text("/version/release"), sha: text("/version/sha") },
            provider: text("/provider/provider"),
            orchestration: text("/provider/orchestration"),
            provider_version: Version {
                release: text("/provider/version/release"),
                sha: text("/provider/version/sha"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn odd_answers_are_read_as_far_as_they_go() {
        assert_eq!(Info::read(&json!(null)), Info::default());
        assert_eq!(Info::read(&json!({"provider": null, "version": 3})), Info::default());
        let some = Info::read(&json!({"version": {"release": "1"}, "provider": {"provider": "p"}}));
        assert_eq!((some.gateway.release.as_str(), some.provider.as_str()), ("1", "p"));
    }
}
