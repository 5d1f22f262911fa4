//! Brings one function live as its files are now.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, anyhow};
use provider::bundle::{Digest, Reference};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Context;
use crate::build::local::{Plan, build, check};
use crate::build::{ImageFlags, Job, Progress, build_all};
use crate::commands::up::Args;
use crate::deploy::{Options, deploy_quietly, watch_until_ready};
use crate::gateway::{Backend, Gateway};
use crate::stack::{Function, Stack};

/// What all swaps share.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub(super) args: &'a Args,
    pub(super) context: &'a Context,
    pub(super) gateway: &'a Gateway,
    pub(super) backend: Backend,
    pub(super) options: Options,
}

/// One function on its way.
pub(super) struct Order {
    pub(super) stack: Rc<Stack>,
    pub(super) name: String,
    /// The files of its handler that have changed, relative to it.
    pub(super) changed: BTreeSet<PathBuf>,
    /// When the newest of them was saved.
    pub(super) saved: Option<Instant>,
    /// What was deployed last, if anything.
    pub(super) last: Option<Rc<provider::Function>>,
    /// Says that newer files make this one pointless.
    pub(super) newer: Rc<Notify>,
}

impl Order {
    /// The bundle that was deployed last, if one was.
    fn bundle(&self) -> Option<Digest> {
        let reference = Reference::from_image(&self.last.as_ref()?.image).ok()??;
        Some(reference.digest)
    }
}

/// What became of it.
pub(super) enum Outcome {
    /// It is live.
    Live(Rc<provider::Function>),
    /// The files make what is live already.
    Same,
    /// Newer files came before it was deployed.
    Superseded,
    /// It could not be made; what was live still is.
    Failed(anyhow::Error),
    /// It was deployed and does not serve; what was live still does.
    Broken(anyhow::Error),
}

impl Bench<'_> {
    /// Builds, deploys, and waits until the new one serves. Newer files break off the building,
    /// but not the deploying.
    pub(super) async fn swap(self, order: &Order) -> Outcome {
        let made = tokio::select! {
            made = self.make(order) => made,
            () = order.newer.notified() => return Outcome::Superseded,
        };
        let wire = match made {
            Ok(wire) => Rc::new(wire),
            Err(error) => return Outcome::Failed(error),
        };
        let bundles = self.backend == Backend::Bundles;
        if bundles && order.last.as_ref() == Some(&wire) {
            return Outcome::Same;
        }
        match self.deploy(&wire).await {
            Ok(()) => Outcome::Live(wire),
            Err(error) => Outcome::Broken(error),
        }
    }

    async fn deploy(&self, wire: &provider::Function) -> Result<()> {
        deploy_quietly(self.gateway, wire, &self.options).await?;
        watch_until_ready(self.gateway, (wire, self.options.timeout), |_| {}).await
    }

    /// The function as it is to be deployed; its bundle is at the gateway.
    async fn make(&self, order: &Order) -> Result<provider::Function> {
        let function = order.stack.function(&order.name);
        let function = function.ok_or_else(|| anyhow!("{} is in no stack", order.name))?;
        self.args.check(&order.stack, function)?;
        let functions = [function];
        match self.backend {
            Backend::Bundles => self.bundle(order, self.args.job(&order.stack, &functions)).await,
            Backend::Images => self.image(order, function).await,
        }
    }

    async fn bundle(&self, order: &Order, job: Job<'_>) -> Result<provider::Function> {
        let [function] = job.functions else { return Err(anyhow!("one at a time")) };
        let plan = Plan::new(function, &job, self.context).await?;
        let build = async {
            let mut line = Progress::new(true).start(&plan.name);
            let bundle = build(&plan, &self.context.env, &mut line).await?;
            self.gateway.put_bundle(bundle.digest, &bundle.archive, order.bundle()).await?;
            Ok(bundle)
        };
        let ((), bundle) = tokio::try_join!(check(&plan, &order.changed), build)?;
        self.args.of_bundle(&order.stack, function, &bundle)
    }

    async fn image(&self, order: &Order, function: &Function) -> Result<provider::Function> {
        let functions = [function];
        let images = ImageFlags { quiet: true, ..self.args.images.clone() };
        let job = Job { images: &images, ..self.args.job(&order.stack, &functions) };
        build_all(&job, self.context).await?;
        let gateway = self.gateway.url();
        self.args.push(&functions, self.context, crate::local::is_local(gateway)).await?;
        self.args.of_image(&order.stack, function).await
    }
}
