//! The engine as the tests use it beside the provider: the fixture's image, and what is left.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use bollard::Docker;
use bollard::query_parameters::{
    CreateImageOptions, ListContainersOptions, ListVolumesOptions, RemoveContainerOptions,
    RemoveVolumeOptions,
};
use futures_util::StreamExt;
use provider::Address;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// The fixture's source; a change of it makes a new image.
const SOURCE: &str = include_str!("fixture.rs");
/// Where cargo lets tests keep files between runs.
const CACHE: &str = env!("CARGO_TARGET_TMPDIR");

/// The engine that `DOCKER_HOST` names, else the usual one.
pub(crate) fn host() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| provider::docker::DEFAULT_HOST.to_owned())
}

pub(crate) async fn connect() -> Result<Docker, String> {
    let docker = Docker::connect_with_host(&host()).map_err(|e| e.to_string())?;
    docker.negotiate_version().await.map_err(|e| e.to_string())
}

/// The image of the fixture, made at first use.
pub(crate) async fn image(docker: &Docker) -> String {
    let image = format!("flint-test/fixture:{:016x}", hash(SOURCE));
    if docker.inspect_image(&image).await.is_err() {
        import(docker, &image, "/fixture").await;
    }
    image
}

/// An image whose program is not there.
pub(crate) async fn broken_image(docker: &Docker) -> String {
    let image = format!("flint-test/broken:{:016x}", hash(SOURCE));
    if docker.inspect_image(&image).await.is_err() {
        import(docker, &image, "/not-there").await;
    }
    image
}

async fn import(docker: &Docker, image: &str, entrypoint: &str) {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_path_with_name(binary(), "fixture").unwrap();
    let mut tmp = tar::Header::new_gnu();
    tmp.set_entry_type(tar::EntryType::Directory);
    tmp.set_mode(0o1777);
    tmp.set_size(0);
    archive.append_data(&mut tmp, "tmp/", std::io::empty()).unwrap();
    let (repo, tag) = image.split_once(':').unwrap();
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repo.to_owned()),
        tag: Some(tag.to_owned()),
        changes: vec![format!("ENTRYPOINT [\"{entrypoint}\"]")],
        ..Default::default()
    };
    let body = bollard::body_full(archive.into_inner().unwrap().into());
    let mut items = Box::pin(docker.create_image(Some(options), Some(body), None));
    while let Some(item) = items.next().await {
        item.expect("the image is imported");
    }
}

/// The fixture as a static program.
pub(crate) fn binary() -> PathBuf {
    let cache = Path::new(CACHE);
    let done = cache.join(format!("fixture-{:016x}", hash(SOURCE)));
    if !done.exists() {
        // Others may build it at the same time; whoever is done last changes nothing.
        let unfinished = cache.join(format!("fixture-{}", random()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/fixture.rs");
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"]);
        let status = rustc.arg(&unfinished).arg(source).status().expect("rustc runs");
        assert!(status.success(), "the fixture does not build");
        std::fs::rename(unfinished, &done).unwrap();
    }
    done
}

/// FNV-1a: the same in every process.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(crate) fn random() -> String {
    let mut bytes = [0; 6];
    getrandom::fill(&mut bytes).unwrap();
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn filters(network: &str) -> Option<HashMap<String, Vec<String>>> {
    let label = format!("dev.flint.network={network}");
    Some(HashMap::from([("label".to_owned(), vec![label])]))
}

pub(crate) async fn containers(docker: &Docker, network: &str) -> Vec<String> {
    let filters = filters(network);
    let options = ListContainersOptions { all: true, filters, ..Default::default() };
    let listed = docker.list_containers(Some(options)).await.unwrap();
    listed.into_iter().filter_map(|c| c.names?.into_iter().next()).collect()
}

pub(crate) async fn volumes(docker: &Docker, network: &str) -> Vec<String> {
    let options = ListVolumesOptions { filters: filters(network) };
    let listed = docker.list_volumes(Some(options)).await.unwrap();
    listed.volumes.unwrap_or_default().into_iter().map(|v| v.name).collect()
}

/// Removes a container that somebody else looks after.
pub(crate) async fn remove(docker: &Docker, container: &str) {
    let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
    docker.remove_container(container, Some(options)).await.unwrap();
}

/// Removes everything that belongs to a test's network, however the test ended.
pub(crate) async fn clean(docker: &Docker, network: &str) {
    for container in containers(docker, network).await {
        let options = RemoveContainerOptions { force: true, v: true, ..Default::default() };
        let name = container.trim_start_matches('/');
        let _gone = docker.remove_container(name, Some(options)).await;
    }
    for volume in volumes(docker, network).await {
        let _gone = docker.remove_volume(&volume, None::<RemoveVolumeOptions>).await;
    }
    let _gone = docker.remove_network(network).await;
}

/// Asks a replica as the gateway would.
pub(crate) async fn get(address: &Address, path: &str) -> String {
    match address {
        Address::Tcp(address) => ask(TcpStream::connect(address).await.unwrap(), path).await,
        Address::Unix(socket) => {
            // A link is shorter than the 107 bytes that a socket's address can hold.
            let dir = tempfile::tempdir().unwrap();
            let link = dir.path().join("s");
            std::os::unix::fs::symlink(socket, &link).unwrap();
            ask(UnixStream::connect(&link).await.unwrap(), path).await
        }
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}
