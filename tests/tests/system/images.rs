//! The images of gateway and watchdog, as `tests/images/flint` builds them.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use system::{binary, docker, project, run, unique};

/// A time that no build of today has.
const EPOCH: &str = "1000000000";
/// That time, as images have it.
const CREATED: &str = "2001-09-09T01:46:40Z";

/// Images under a tag of the test's own, gone with it.
struct Images {
    tag: String,
}

impl Images {
    /// Builds both from the programs that were built with the tests, which are not optimized.
    fn build() -> Result<Self> {
        let images = Self { tag: unique("t") };
        images.script(&["--any-size"])?;
        Ok(images)
    }

    fn script(&self, args: &[&str]) -> Result<String> {
        let programs = binary("");
        let mut command = Command::new(project().join("tests/images/flint"));
        command.arg("--from").arg(programs).args(["--tag", &self.tag]).args(args);
        run(command.env("SOURCE_DATE_EPOCH", EPOCH))
    }

    fn inspect(&self, name: &str) -> Result<Value> {
        let told = docker(&["image", "inspect", &format!("flint/{name}:{}", self.tag)])?;
        let all: Value = serde_json::from_str(&told)?;
        Ok(all[0].clone())
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        for name in ["gateway", "watchdog"] {
            let _ = docker(&["image", "rm", &format!("flint/{name}:{}", self.tag)]);
        }
    }
}

#[test]
fn the_same_programs_give_the_same_images() -> Result<()> {
    let (first, second) = (Images::build()?, Images::build()?);
    for name in ["gateway", "watchdog"] {
        let (one, other) = (first.inspect(name)?, second.inspect(name)?);
        ensure!(one["Id"] == other["Id"], "{name}: {} and {}", one["Id"], other["Id"]);
        ensure!(one["Created"] == CREATED, "{name}: {}", one["Created"]);
    }
    Ok(())
}

#[test]
fn images_have_the_program_and_no_rights() -> Result<()> {
    let images = Images::build()?;
    for (name, program, ports) in [
        ("gateway", "faas-gateway", json!({ "8080/tcp": {}, "8082/tcp": {}, "8443/tcp": {} })),
        ("watchdog", "fwatchdog", json!({ "8080/tcp": {}, "8081/tcp": {} })),
    ] {
        let told = images.inspect(name)?;
        let config = &told["Config"];
        ensure!(config["User"] == "65532:65532", "{name} runs as {}", config["User"]);
        ensure!(config["Entrypoint"] == json!([format!("/{program}")]), "{config:#}");
        ensure!(config["ExposedPorts"] == ports, "{config:#}");
        let label = |key: &str| &config["Labels"][format!("org.opencontainers.image.{key}")];
        ensure!(*label("title") == program && *label("licenses") == "Apache-2.0", "{config:#}");
        ensure!(*label("version") == env!("CARGO_PKG_VERSION"), "{config:#}");
        ensure!(
            label("revision").as_str().is_some_and(|hash| hash.len() == 40 || hash == "unknown"),
            "{config:#}"
        );
        // It is linked statically: there is nothing in the image to link it with.
        let image = format!("flint/{name}:{}", images.tag);
        let flag = if name == "gateway" { "--version" } else { "-version" };
        let walls = ["run", "--rm", "--read-only", "--network=none", "--cap-drop=ALL"];
        let said = docker(&[&walls[..], &[&image, flag]].concat())?;
        ensure!(said.contains(env!("CARGO_PKG_VERSION")), "{name} says {said:?}");
    }
    Ok(())
}

#[test]
fn images_that_are_too_large_are_told() -> Result<()> {
    let images = Images { tag: unique("t") };
    let failed = images.script(&["watchdog"]).err().context("it has no limit")?;
    ensure!(format!("{failed:#}").contains("at most 5242880 are allowed"), "{failed:#}");
    Ok(())
}
