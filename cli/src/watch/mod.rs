//! `faas up --watch`: what is saved goes live.

mod files;
mod ignored;
mod lines;
mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Context;
use crate::commands::up::Args;
use crate::error::report;
use crate::gateway::{Backend, Gateway};
use crate::interrupt::Interrupts;
use crate::output::{style, talk};
use crate::stack::{self, Function, Selection, Source, Stack};
use crate::template::{self, Template};

use files::{Changes, Files, Watched};
use lines::Lines;
use swap::{Bench, Order, Outcome};

/// What `faas up` has done when watching begins.
#[derive(Debug)]
pub struct Begun {
    /// The gateway.
    pub gateway: Gateway,
    /// What it runs functions from.
    pub backend: Backend,
    /// The functions that are live, as they were deployed.
    pub ready: Vec<provider::Function>,
}

/// What is known of one function.
#[derive(Default)]
struct Live {
    /// Where its files are.
    places: Places,
    /// What was deployed last, as far as it is known here.
    last: Option<Rc<provider::Function>>,
    /// Files of its handler that have changed and are neither live nor on their way.
    changed: BTreeSet<PathBuf>,
    /// When the newest of them was saved.
    saved: Option<Instant>,
    /// Whether it waits to be built again.
    waiting: bool,
    /// How to break off what is under way, when something is.
    running: Option<Rc<Notify>>,
}

/// Where a function's files are; all paths are absolute.
#[derive(Default)]
struct Places {
    handler: PathBuf,
    folders: BTreeSet<PathBuf>,
    files: BTreeSet<PathBuf>,
}

/// One function, and what became of it.
type Done = (Order, Outcome);

/// The state of watching.
struct Watch<'a> {
    bench: Bench<'a>,
    stack: Rc<Stack>,
    /// The stack file, when it is a file.
    file: Option<PathBuf>,
    live: BTreeMap<String, Live>,
    running: FuturesUnordered<LocalBoxFuture<'a, Done>>,
    lines: Lines<'a>,
}

/// Watches the files of the stack's functions until it is interrupted.
pub async fn run(
    args: &Args,
    context: &Context,
    Begun { gateway, backend, ready }: &Begun,
) -> Result<()> {
    let mut interrupts = Interrupts::listen()?;
    let (stack, _) = context.functions().await?;
    let file = match stack::find(context.globals.yaml.as_deref(), Path::new(".")) {
        Some(Source::Path(path)) => Some(std::path::absolute(path)?),
        _ => None,
    };
    let bench = Bench { args, context, gateway, backend: *backend, options: args.options()? };
    let mut watch = Watch {
        bench,
        stack: Rc::new(stack.clone()),
        file,
        live: BTreeMap::new(),
        running: FuturesUnordered::new(),
        lines: Lines::new(gateway),
    };
    let mut files = Files::new(&std::path::absolute(".")?)?;
    watch.read_stack(Rc::clone(&watch.stack))?;
    for wire in ready {
        if let Some(live) = watch.live.get_mut(&wire.service) {
            live.last = Some(Rc::new(wire.clone()));
        }
    }
    files.watch(watch.watched())?;
    talk("Watching: what is saved goes live. Ctrl-C ends watching.");
    loop {
        tokio::select! {
            () = interrupts.wait() => break,
            changes = files.next() => {
                if watch.changed(&changes?).await? {
                    files.watch(watch.watched())?;
                }
            }
            Some((order, outcome)) = watch.running.next() => watch.done(order, outcome),
            line = watch.lines.next() => watch.lines.print(&line)?,
        }
        watch.start();
    }
    talk("Watching has ended; the functions go on. `faas down` removes them.");
    Ok(())
}

impl Watch<'_> {
    /// Everything that is to be watched.
    fn watched(&self) -> Watched {
        let mut watched = Watched::default();
        watched.files.extend(self.file.clone());
        for live in self.live.values() {
            watched.folders.extend(live.places.folders.iter().cloned());
            watched.files.extend(live.places.files.iter().cloned());
        }
        watched
    }

    /// Notes what has changed; whether other files are to be watched from now on.
    async fn changed(&mut self, changes: &Changes) -> Result<bool> {
        for live in self.live.values_mut() {
            live.note(changes);
        }
        let stack = self.file.as_ref().is_some_and(|file| changes.paths.contains(file));
        if !stack && !changes.lost {
            return Ok(false);
        }
        // What cannot be read leaves everything as it is.
        let read = match stack::open(&self.bench.context.globals).await {
            Ok(Some(stack)) => self.read_stack(Rc::new(stack)),
            Ok(None) => return Ok(false),
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            report(&error);
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes over a stack: functions that are new in it, or other than before, are built.
    fn read_stack(&mut self, stack: Rc<Stack>) -> Result<()> {
        let globals = &self.bench.context.globals;
        let selection = Selection::new(globals.filter.as_deref(), globals.regex.as_deref())?;
        let functions = selection.of(&stack)?;
        let first = self.live.is_empty();
        let configured = stack.configuration != self.stack.configuration;
        let now = Some(Instant::now());
        for function in &functions {
            let other = configured || self.stack.function(&function.name) != Some(function);
            let known = self.live.contains_key(&function.name);
            let live = self.live.entry(function.name.clone()).or_default();
            live.places = places(function, &stack)?;
            if !first && (other || !known) {
                live.waiting = true;
                live.saved = live.saved.max(now);
            }
            let target = crate::args::Target {
                name: function.name.clone(),
                namespace: function.namespace.clone(),
            };
            self.lines.add(target);
        }
        let named = |name: &String| functions.iter().any(|function| function.name == *name);
        for name in self.live.keys().filter(|name| !named(name)) {
            talk(&format!("{name} is not in the stack any more; `faas remove {name}` removes it."));
        }
        self.live.retain(|name, _| named(name));
        self.stack = stack;
        Ok(())
    }

    /// Starts what waits; what is under way with older files is broken off.
    fn start(&mut self) {
        for (name, live) in self.live.iter_mut().filter(|(_, live)| live.waiting) {
            if let Some(newer) = &live.running {
                newer.notify_one();
                continue;
            }
            let newer = Rc::new(Notify::new());
            let order = Order {
                stack: Rc::clone(&self.stack),
                name: name.clone(),
                changed: std::mem::take(&mut live.changed),
                saved: live.saved.take(),
                last: live.last.clone(),
                newer: Rc::clone(&newer),
            };
            live.running = Some(newer);
            live.waiting = false;
            let bench = self.bench;
            self.running.push(Box::pin(async move {
                let outcome = bench.swap(&order).await;
                (order, outcome)
            }));
        }
    }

    /// Says what became of a function.
    fn done(&mut self, order: Order, outcome: Outcome) {
        let Some(live) = self.live.get_mut(&order.name) else { return };
        live.running = None;
        let name = order.name.clone();
        match outcome {
            Outcome::Superseded => live.take_back(order),
            Outcome::Same => talk(&style::dim(&format!("{name}: nothing to change."))),
            Outcome::Live(wire) => {
                live.last = Some(wire);
                let took = order.saved.map(|saved| saved.elapsed().as_millis()).unwrap_or_default();
                let what = names(&order.changed);
                talk(&style::good(&format!("{name}: live {took} ms after the save{what}.")));
            }
            Outcome::Failed(error) => live.failed(order, &error),
            Outcome::Broken(error) => {
                // The gateway goes on trying it: even what was live before is to be deployed again.
                live.last = None;
                live.failed(order, &error);
            }
        }
    }
}

impl Live {
    /// Notes changes that are about it.
    fn note(&mut self, changes: &Changes) {
        let places = &self.places;
        let about = |path: &&PathBuf| {
            places.files.contains(*path)
                || places.folders.iter().any(|folder| path.starts_with(folder))
        };
        let mut about = changes.paths.iter().filter(about).peekable();
        if about.peek().is_none() && !changes.lost {
            return;
        }
        let inside = |path: &PathBuf| path.strip_prefix(&places.handler).ok().map(Path::to_owned);
        self.changed.extend(about.filter_map(inside));
        self.saved = self.saved.max(changes.saved);
        self.waiting = true;
    }

    /// Tells why something is not live.
    fn failed(&mut self, order: Order, error: &anyhow::Error) {
        report(error);
        self.changed.extend(order.changed);
        let rest = if self.waiting { "" } else { ": save again to try again" };
        talk(&format!("{}: the version before goes on{rest}.", order.name));
    }

    /// What was ordered is to be ordered again.
    fn take_back(&mut self, order: Order) {
        self.changed.extend(order.changed);
        self.saved = self.saved.max(order.saved);
        self.waiting = true;
    }
}

/// Where the files of a function are.
fn places(function: &Function, stack: &Stack) -> Result<Places> {
    let mut places = Places::default();
    for file in &function.environment_file {
        places.files.insert(std::path::absolute(file)?);
    }
    if function.skip_build || function.handler.is_empty() {
        return Ok(places);
    }
    places.handler = std::path::absolute(&function.handler)?;
    places.folders.insert(places.handler.clone());
    let template = Template::find(Path::new("."), &template::canonical(&function.lang));
    let template = template.ok().flatten().and_then(|template| template.folder);
    let copied = stack.configuration.copy.iter().map(PathBuf::from);
    for path in template.into_iter().chain(copied) {
        let path = std::path::absolute(path)?;
        if path.is_dir() {
            places.folders.insert(path);
        } else {
            places.files.insert(path);
        }
    }
    Ok(places)
}

/// The files that changed, for people.
fn names(changed: &BTreeSet<PathBuf>) -> String {
    // The folder itself has no name in itself.
    let named = changed.iter().filter(|path| !path.as_os_str().is_empty());
    let mut names = named.map(|path| path.display().to_string());
    match (names.next(), names.count()) {
        (None, _) => String::new(),
        (Some(one), 0) => format!(" of {one}"),
        (Some(one), more) => format!(" of {one} and {more} more"),
    }
}
