//! Builds functions and pushes their images (contract 6.3).

mod arguments;
mod context;
mod dockerfile;
mod engine;
mod flags;
pub mod local;
mod progress;
mod push;
mod registry;
mod run;
mod session;
mod tag;
pub(crate) mod watchdog;

use futures_util::{StreamExt, stream};

pub use flags::{BuildFlags, ImageFlags};
pub(crate) use progress::{Progress, plain};
pub use push::push_all;
pub use registry::named_host;
pub use run::{Job, build_all};
pub use tag::{TagMode, image_name};
pub use watchdog::beside_this_program;

use crate::config::DockerEnvironment;
use crate::error::hinted;

/// Whether there is a Docker engine that answers.
pub(crate) async fn engine_answers(docker: &DockerEnvironment) -> bool {
    engine::Engine::connect(docker).await.is_ok()
}

/// Does something for all, several at once; gives back what went wrong.
async fn each<T, F: Future<Output = anyhow::Result<()>>>(
    items: impl IntoIterator<Item = T>,
    parallel: u16,
    work: impl Fn(T) -> F,
) -> Vec<anyhow::Error> {
    let all = stream::iter(items.into_iter().map(work)).buffer_unordered(usize::from(parallel));
    all.filter_map(async |done| done.err()).collect().await
}

/// Names go into URLs of the engine, and must be names.
fn check_image(function: &str, image: &str) -> anyhow::Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-._/:@".contains(c);
    let hint = format!("set functions.{function}.image, such as {function}:latest");
    if image.is_empty() {
        return Err(hinted(format!("function {function} has no image"), hint));
    }
    if !image.chars().all(good) || image.contains("..") {
        return Err(hinted(format!("{image:?} is not the name of an image"), hint));
    }
    Ok(())
}
