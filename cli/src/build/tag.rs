//! The tags of images: `--tag` (contract 6.3).

use std::path::Path;

use anyhow::{Context as _, Result};
use md5::{Digest, Md5};

use crate::template::git;
use crate::tree::Tree;

/// Longest tag, by the rules of registries.
const MAX_TAG: usize = 128;

/// What becomes of an image's tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TagMode {
    /// It stays.
    #[default]
    Latest,
    /// The commit is added to it.
    Sha,
    /// Branch and commit are added to it.
    Branch,
    /// What `git describe` says is added to it.
    Describe,
    /// A digest of the handler's folder takes its place.
    Digest,
}

/// The image's name under a mode. `handler` is read for [`TagMode::Digest`] only.
pub async fn image_name(image: &str, mode: TagMode, handler: &Path) -> Result<String> {
    let here = Path::new(".");
    let suffix = match mode {
        TagMode::Latest => return Ok(image.to_owned()),
        TagMode::Digest => return Ok(replaced(image, &digest(handler)?)),
        TagMode::Sha => sha().await?,
        TagMode::Branch => {
            let branch = git(&["rev-parse", "--abbrev-ref", "HEAD"], here).await;
            format!("{}-{}", branch.context("--tag branch")?, sha().await?)
        }
        TagMode::Describe => {
            git(&["describe", "--tags", "--always"], here).await.context("--tag describe")?
        }
    };
    Ok(added(image, &suffix))
}

async fn sha() -> Result<String> {
    let said = git(&["rev-parse", "--short", "HEAD"], Path::new(".")).await;
    said.context("the commit of this folder is not known")
}

/// MD5 is what the reference uses: it tells versions apart and protects nothing.
fn digest(handler: &Path) -> Result<String> {
    let mut hash = Md5::new();
    Tree::read(handler, &|_| false)?.tar(&mut hash)?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Name and tag of an image; the colon of a registry's port is no tag.
pub(crate) fn split(image: &str) -> (&str, Option<&str>) {
    let name = image.rfind('/').map_or(0, |at| at + 1);
    match image[name..].find(':') {
        Some(at) => (&image[..name + at], Some(&image[name + at + 1..])),
        None => (image, None),
    }
}

fn added(image: &str, suffix: &str) -> String {
    let (name, tag) = split(image);
    format!("{name}:{}", clean(&format!("{}-{suffix}", tag.unwrap_or("latest"))))
}

fn replaced(image: &str, tag: &str) -> String {
    format!("{}:{}", split(image).0, clean(tag))
}

/// What a tag cannot hold becomes a dash: branches have slashes.
fn clean(tag: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    tag.chars().map(|c| if good(c) { c } else { '-' }).take(MAX_TAG).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert_eq!(added("img", "ef384"), "img:latest-ef384");
        assert_eq!(added("img:0.2", "ef384"), "img:0.2-ef384");
        assert_eq!(added("registry:5000/honk/img", "ef384"), "registry:5000/honk/img:latest-ef384");
        assert_eq!(added("registry:80/img:1", "feature/x-1"), "registry:80/img:1-feature-x-1");
        assert_eq!(replaced("registry:80/img:1", "abc"), "registry:80/img:abc");
        assert_eq!(added("i", &"x".repeat(300)).len(), 2 + MAX_TAG);
    }

    #[tokio::test]
    async fn the_digest_follows_the_content() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), "1").unwrap();
        let name = || image_name("h/i:1", TagMode::Digest, folder.path());
        let first = name().await.unwrap();
        assert_eq!(first.len(), "h/i:".len() + 32);
        assert_eq!(name().await.unwrap(), first);
        std::fs::write(folder.path().join("a"), "2").unwrap();
        assert_ne!(name().await.unwrap(), first);
        assert_eq!(image_name("x", TagMode::Latest, Path::new("/none")).await.unwrap(), "x");
    }
}
