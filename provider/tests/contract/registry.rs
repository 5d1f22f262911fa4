//! Pulling from a registry that wants a password: Debian's `docker-registry`.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptions, RemoveImageOptions, TagImageOptions};
use futures_util::StreamExt;
use provider::docker::{Docker, DockerConfig};
use provider::{Error, Function, Provider, annotation};
use tokio::net::TcpStream;

use crate::on_docker::OnDocker;
use crate::support::{Backend, Watcher, deploy, name, soon};

const USER: &str = "flint";
const PASSWORD: &str = "pa:ss";

/// A registry of its own; it ends with the test.
struct Registry {
    process: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

async fn start(dir: &Path) -> Registry {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let host = format!("127.0.0.1:{port}");
    let users = Command::new("htpasswd").args(["-nbB", USER, PASSWORD]).output();
    std::fs::write(dir.join("users"), users.expect("htpasswd is installed").stdout).unwrap();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {dir}/images\n\
         http:\n  addr: {host}\nauth:\n  htpasswd:\n    realm: test\n    path: {dir}/users\n",
        dir = dir.display()
    );
    std::fs::write(dir.join("config.yml"), config).unwrap();
    let process = Command::new("docker-registry")
        .arg("serve")
        .arg(dir.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry is installed");
    soon("the registry listens", async {
        while TcpStream::connect(&host).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    Registry { process, host }
}

/// Puts the fixture into the registry and takes the name away from the engine.
async fn push(backend: &OnDocker, host: &str) -> String {
    let repository = format!("{host}/fixture");
    let options = TagImageOptions { repo: Some(repository.clone()), tag: Some("1".to_owned()) };
    backend.engine.tag_image(&backend.image, Some(options)).await.unwrap();
    let credentials = DockerCredentials {
        username: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..DockerCredentials::default()
    };
    let options = PushImageOptions { tag: Some("1".to_owned()), ..Default::default() };
    let pushed = backend.engine.push_image(&repository, Some(options), Some(credentials));
    let mut pushed = Box::pin(pushed);
    while let Some(item) = pushed.next().await {
        item.unwrap();
    }
    let image = format!("{repository}:1");
    forget(backend, &image).await;
    image
}

async fn forget(backend: &OnDocker, image: &str) {
    let options = None::<RemoveImageOptions>;
    backend.engine.remove_image(image, options, None).await.unwrap();
}

pub(crate) async fn images_are_pulled_with_credentials(backend: Arc<OnDocker>) {
    let dir = tempfile::tempdir().unwrap();
    let registry = start(dir.path()).await;
    let image = push(&backend, &registry.host).await;
    let private = Function { image: image.clone(), ..backend.good("echo", "v1") };

    let docker: Arc<dyn Provider> = backend.docker();
    let error = docker.apply(&private).await.unwrap_err();
    assert!(matches!(&error, Error::Image { reason, .. } if reason.contains("auth")), "{error}");
    let pair = STANDARD.encode(format!("{USER}:wrong"));
    let wrong = Function { registry_auth: pair, ..private.clone() };
    assert!(matches!(docker.apply(&wrong).await, Err(Error::Image { .. })));
    let garbage = Function { registry_auth: "?".to_owned(), ..private.clone() };
    let error = docker.apply(&garbage).await.unwrap_err().to_string();
    assert!(error.starts_with("registryAuth"), "{error}");

    let mut watcher = Watcher::new(&docker).await;
    let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let right = Function { registry_auth: pair.clone(), ..private.clone() };
    let status = deploy(&*backend, &mut watcher, &right).await;
    assert_eq!(status.function.registry_auth, "", "credentials are not kept");
    // The image is there: no credentials are needed any more.
    deploy(&*backend, &mut watcher, &private).await;
    docker.remove(&name("echo")).await.unwrap();
    forget(&backend, &image).await;
    with_stored_credentials(&backend, &registry.host, &private).await;
    forget(&backend, &image).await;
}

/// From `config.json`, first as an entry, then through a program.
async fn with_stored_credentials(backend: &OnDocker, host: &str, private: &Function) {
    backend.disconnect();
    let dir = tempfile::tempdir().unwrap();
    let config = DockerConfig { docker_config: Some(dir.path().to_owned()), ..backend.config() };
    let docker = Docker::connect(config).await.unwrap();
    let always = (annotation::IMAGE_PULL_POLICY.to_owned(), "Always".to_owned());
    let private = Function { annotations: [always].into(), ..private.clone() };

    docker.apply(&private).await.unwrap_err();
    let pair = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let stored = format!(r#"{{"auths":{{"{host}":{{"auth":"{pair}"}}}}}}"#);
    std::fs::write(dir.path().join("config.json"), stored).unwrap();
    docker.apply(&private).await.unwrap();

    let helper = format!(r#"{{"credHelpers":{{"{host}":"flint-test-missing"}}}}"#);
    std::fs::write(dir.path().join("config.json"), helper).unwrap();
    let error = docker.apply(&private).await.unwrap_err().to_string();
    assert!(error.contains("docker-credential-flint-test-missing"), "{error}");
    docker.remove(&name("echo")).await.unwrap();
}
