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
        $crate::on_each_backend_with! { [], $($case),* }
    };
}

/// As [`on_each_backend!`], with these arguments of the gateway.
#[macro_export]
macro_rules! on_each_backend_with {
    ($args:expr, $($case:ident),* $(,)?) => {
        $(mod $case {
            #[allow(unused_imports, reason = "the arguments may be named there")]
            use super::*;

            #[tokio::test]
            async fn docker() -> anyhow::Result<()> {
                let world = $crate::world::World::start_with("docker", &$args).await?;
                super::$case(world).await
            }

            #[tokio::test]
            async fn process() -> anyhow::Result<()> {
                let world = $crate::world::World::start_with("process", &$args).await?;
                super::$case(world).await
            }
        })*
    };
}
