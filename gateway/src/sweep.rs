//! Bundles that nobody uses are removed from time to time.

use std::sync::Arc;
use std::time::Duration;

use provider::bundle::Store;
use tokio::task::spawn_blocking;

/// Time between two looks.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// Removes bundles that nobody uses, for ever. To be begun when the provider has told what runs,
/// for only then does everybody who uses a bundle hold it.
pub async fn sweep(store: Arc<Store>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let store = store.clone();
        match spawn_blocking(move || store.collect()).await {
            Ok(Ok(removed)) => {
                for digest in removed {
                    tracing::info!(%digest, "bundle removed: no function uses it");
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "unused bundles stay"),
            Err(error) => tracing::error!(%error, "unused bundles stay"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use provider::bundle::{Limits, sample};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bundle_that_nobody_uses_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Limits::default()).unwrap();
        let kept = sample::put(&store, &sample::Archive::running("cat").build()).unwrap();
        let old = sample::put(&store, &sample::Archive::running("ls").build()).unwrap();
        let archives = dir.path().join("bundles/archives");
        let file = std::fs::File::open(archives.join(format!("{}.tar.zst", old.hex()))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let sweeping = tokio::spawn(sweep(store.clone()));
        while store.list().unwrap().len() > 1 {
            tokio::time::sleep(PERIOD).await;
        }
        sweeping.abort();
        assert_eq!(store.list().unwrap()[0].digest, kept);
    }
}
