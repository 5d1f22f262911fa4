//! Where functions run, when that is for this program to say: as processes or in containers.

use std::time::Duration;

use anyhow::Result;

use crate::Context;
use crate::args::GatewayArgs;
use crate::build::local::{needs_images, template_of};
use crate::build::{Job, engine_answers};
use crate::config::Environment;
use crate::error::usage;
use crate::gateway::Backend;

/// Longest wait for a gateway that is asked only what it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// `--provider`: what runs functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProviderKind {
    /// Processes of this machine, unless the functions need a Docker engine that is there
    #[default]
    Auto,
    /// Containers of the Docker engine
    Docker,
    /// Processes of this machine
    Process,
}

impl ProviderKind {
    /// Its name, as `faas-gateway` knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Process => "process",
        }
    }

    /// The flag, else `FAAS_PROVIDER`, else auto.
    pub fn asked(flag: Option<Self>, env: &Environment) -> Result<Self> {
        let (None, Some(text)) = (flag, &env.building.provider) else {
            return Ok(flag.unwrap_or_default());
        };
        let read = <Self as clap::ValueEnum>::from_str(text, false);
        read.map_err(|_| {
            let hint = "it is docker, process or auto; others are for `faas-gateway` itself";
            usage(format!("FAAS_PROVIDER={text} is nothing that faas can start"), hint)
        })
    }

    /// What a gateway for these functions should be: auto is the processes of this machine, unless
    /// a function needs an image and a Docker engine is there to run it.
    pub async fn resolve(self, job: &Job<'_>, context: &Context) -> Self {
        if self != Self::Auto {
            return self;
        }
        for function in job.functions {
            // A template that cannot be had is an error later, with a better word for it.
            let template = template_of(function, job, context).await.ok().flatten();
            if needs_images(function, template.as_deref()).is_some() {
                let docker = engine_answers(&context.env.building.docker).await;
                return if docker { Self::Docker } else { Self::Process };
            }
        }
        Self::Process
    }
}

/// What functions are built to where nobody waits for them: as `--provider` says, else what the
/// gateway runs, else images where there is a Docker engine.
pub async fn to_build(flag: Option<ProviderKind>, context: &Context) -> Result<Backend> {
    match ProviderKind::asked(flag, &context.env)? {
        ProviderKind::Docker => return Ok(Backend::Images),
        ProviderKind::Process => return Ok(Backend::Bundles),
        ProviderKind::Auto => {}
    }
    if let Some(backend) = of_gateway(context).await {
        return Ok(backend);
    }
    let docker = &context.env.building.docker;
    let images = docker.host.is_some() || engine_answers(docker).await;
    Ok(if images { Backend::Images } else { Backend::Bundles })
}

/// What the gateway runs that stack file and environment name; `None` when it does not say.
pub async fn of_gateway(context: &Context) -> Option<Backend> {
    let gateway = context.gateway(&GatewayArgs::default()).await.ok()?;
    let info = tokio::time::timeout(ASK_TIMEOUT, gateway.info(ASK_TIMEOUT)).await.ok()?.ok()?;
    Some(Backend::of(&info))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::build::{BuildFlags, ImageFlags};
    use crate::stack::{Configuration, Function};

    /// An engine that answers one ping.
    fn engine() -> String {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("tcp://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK");
        });
        url
    }

    async fn resolved(
        kind: ProviderKind,
        function: Function,
        engine: Option<String>,
    ) -> ProviderKind {
        let Ok(cli) = crate::Cli::try_parse_from(["faas", "version"]) else { panic!("a verb") };
        let mut env = Environment::default();
        env.building.docker.host = Some(engine.unwrap_or("unix:///none.sock".to_owned()));
        let context = Context::new(cli.globals, env);
        let job = Job {
            functions: &[&function],
            configuration: &Configuration::default(),
            flags: &BuildFlags::default(),
            images: &ImageFlags::default(),
        };
        kind.resolve(&job, &context).await
    }

    #[tokio::test]
    async fn docker_is_for_functions_that_need_images_where_there_is_an_engine() {
        use ProviderKind::{Auto, Docker, Process};
        let image = || Function { image: "i".to_owned(), skip_build: true, ..Default::default() };
        let own = Function {
            lang: "dockerfile".to_owned(),
            handler: "x".to_owned(),
            ..Default::default()
        };
        assert_eq!(resolved(Auto, image(), Some(engine())).await, Docker);
        assert_eq!(resolved(Auto, own, Some(engine())).await, Docker);
        assert_eq!(resolved(Auto, image(), None).await, Process);
        assert_eq!(resolved(Process, image(), Some(engine())).await, Process);
        assert_eq!(resolved(Docker, image(), None).await, Docker);
    }

    #[test]
    fn the_flag_wins_over_the_variable() {
        let mut env = Environment::default();
        assert_eq!(ProviderKind::asked(None, &env).unwrap(), ProviderKind::Auto);
        env.building.provider = Some("docker".to_owned());
        assert_eq!(ProviderKind::asked(None, &env).unwrap(), ProviderKind::Docker);
        let flag = Some(ProviderKind::Process);
        assert_eq!(ProviderKind::asked(flag, &env).unwrap(), ProviderKind::Process);
        env.building.provider = Some("kubernetes".to_owned());
        let error = ProviderKind::asked(None, &env).unwrap_err().to_string();
        assert_eq!(error, "FAAS_PROVIDER=kubernetes is nothing that faas can start");
    }
}
