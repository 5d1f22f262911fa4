//! A gateway, a client of it and the test function, on either backend.

use anyhow::Result;

use crate::client::Client;
use crate::gateway::Gateway;
use crate::{bundle, image};

/// What most tests begin with.
pub struct World {
    /// The gateway.
    pub gateway: Gateway,
    /// Its client.
    pub client: Client,
    /// What the test function is deployed from: an image's name or a bundle's.
    pub image: String,
}

impl World {
    /// Starts a gateway on this provider.
    pub async fn start(provider: &'static str) -> Result<Self> {
        Self::start_with(provider, &[]).await
    }

    /// Starts one with more arguments than the usual.
    pub async fn start_with(provider: &'static str, args: &[&str]) -> Result<Self> {
        let gateway = Gateway::start_on(provider, args)?;
        let client = Client::new(&gateway)?;
        let image = match provider {
            "process" => bundle::test_function(&client).await?,
            _ => image::test_function()?.to_owned(),
        };
        Ok(Self { gateway, client, image })
    }
}

/// Makes each function of the list, from a [`World`] to a result, a test of every backend.
#[macro_export]
macro_rules! on_each_backend {
    ($($case:ident),* $(,)?) => {
        $(mod $case {
            #[tokio::test]
            async fn docker() -> anyhow::Result<()> {
                super::$case($crate::world::World::start("docker").await?).await
            }

            #[tokio::test]
            async fn process() -> anyhow::Result<()> {
                super::$case($crate::world::World::start("process").await?).await
            }
        })*
    };
}
