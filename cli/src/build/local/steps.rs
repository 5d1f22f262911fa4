//! Runs the steps of a template in the build folder, or takes what they made before.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, anyhow};
use sha2::{Digest as _, Sha256};

use super::cache::Slot;
use super::exec::Exec;
use super::programs::Programs;
use super::{kept, work};
use crate::build::progress::Line;
use crate::error::hinted;
use crate::template::{Local, Step};
use crate::tree::{Globs, Node, Tree};

/// Stands for the folder that persists, in commands and values.
const CACHE: &str = "${cache}";
/// Changes when keys are made in another way.
const KEY_FORMAT: &str = "flint step 1";

/// What runs steps.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    /// The function's folder in the cache.
    pub(crate) slot: &'a Slot,
    /// The template's name.
    pub(crate) template: &'a str,
    /// How it is built.
    pub(crate) local: &'a Local,
    /// The build arguments: variables of every step.
    pub(crate) arguments: &'a BTreeMap<String, String>,
    /// Where programs are.
    pub(crate) programs: Programs<'a>,
}

/// The build folder after the steps.
#[derive(Debug)]
pub(crate) struct Stepped {
    /// What is in it.
    pub(crate) tree: Tree,
    /// The keys of the outputs in it.
    pub(crate) used: Vec<String>,
}

impl Steps<'_> {
    /// Runs all steps that are needed on these sources.
    pub(crate) async fn run(&self, sources: Tree, line: &mut Line) -> Result<Stepped> {
        let mut all = Stepped { tree: sources, used: Vec::new() };
        for step in &self.local.steps {
            if is_wanted(step, &all.tree) {
                self.one(step, &mut all, line).await?;
            }
        }
        Ok(all)
    }

    async fn one(&self, step: &Step, all: &mut Stepped, line: &mut Line) -> Result<()> {
        let key = match step.is_kept() {
            true => Some(self.key(step, &all.tree)?),
            false => None,
        };
        if let Some(key) = &key
            && let Some(outputs) = kept::load(self.slot, key)?
        {
            all.tree.graft(Path::new(""), outputs);
            all.used.push(key.clone());
            return Ok(());
        }
        work::sync(self.slot, &all.tree)?;
        let placed = self.slot.placed();
        self.slot.note_placed(None)?;
        self.execute(step, line).await?;
        self.slot.note_placed(Some(&placed))?;
        self.collect(step, key, all)
    }

    /// Takes what a step has made.
    fn collect(&self, step: &Step, key: Option<String>, all: &mut Stepped) -> Result<()> {
        let work = self.slot.work();
        let made = Tree::scan(&work)?;
        if step.makes_anything() {
            made.check_links(&work)?;
            all.tree = made;
            return Ok(());
        }
        let globs = Globs::new(&step.outputs)?;
        let outputs = made.only(|path| globs.take(path));
        outputs.check_links(&work)?;
        let Some(key) = key else {
            all.tree.graft(Path::new(""), outputs);
            return Ok(());
        };
        kept::save(self.slot, &key, (&outputs, &globs))?;
        let outputs = kept::load(self.slot, &key)?;
        let lost = || anyhow!("the outputs of {:?} are gone", step.run);
        all.tree.graft(Path::new(""), outputs.ok_or_else(lost)?);
        all.used.push(key);
        Ok(())
    }

    async fn execute(&self, step: &Step, line: &mut Line) -> Result<()> {
        let persist = self.slot.persist()?;
        let persist = persist.to_str().context("the cache's path is not UTF-8")?;
        let filled = |text: &String| text.replace(CACHE, persist);
        let words: Vec<String> = step.words().iter().map(filled).collect();
        let mut environment = self.arguments.clone();
        environment.extend(step.environment.iter().map(|(key, text)| (key.clone(), filled(text))));
        let folder = self.slot.work().join(&step.folder);
        if !folder.is_dir() {
            let message = format!("the step {:?} runs in {:?}, no folder", step.run, step.folder);
            return Err(hinted(message, "correct `in:` in the template's template.yml"));
        }
        let exec = Exec {
            words: &words,
            folder: &folder,
            environment: &environment,
            programs: self.programs,
        };
        line.step(&step.run);
        let status = exec.run(&mut |text| line.log(text)).await?;
        if status.success() {
            line.take_tail();
            return Ok(());
        }
        let tail: String = line.take_tail().iter().map(|text| format!("\n  | {text}")).collect();
        Err(anyhow!("{} ended with {status}{tail}", step.run))
    }

    /// A key that stands for the command and everything that its outcome depends on.
    fn key(&self, step: &Step, tree: &Tree) -> Result<String> {
        let mut hash = Sha256::new();
        let mut put = |text: &[u8]| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for text in [KEY_FORMAT, self.template, &step.run, &step.folder] {
            put(text.as_bytes());
        }
        for (key, value) in self.arguments.iter().chain(&step.environment) {
            put(key.as_bytes());
            put(value.as_bytes());
        }
        step.outputs.iter().for_each(|path| put(path.as_bytes()));
        for program in self.local.programs.iter().filter(|program| program.builds()) {
            put(self.version(&program.name).as_bytes());
        }
        let globs = Globs::new(&step.inputs)?;
        for (path, node) in tree.nodes().filter(|(path, _)| globs.take(path)) {
            put(path.as_os_str().as_encoded_bytes());
            match node {
                Node::Folder => put(b"folder"),
                Node::Link(target) => put(target.as_os_str().as_encoded_bytes()),
                Node::File { content, executable } => {
                    put(if *executable { b"program" } else { b"file" });
                    put(&content.read().with_context(|| path.display().to_string())?);
                }
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Where a program is and from when: what another version of it makes may be different.
    fn version(&self, name: &str) -> String {
        let file = self.programs.find(name).and_then(|file| file.canonicalize().ok());
        let Some(file) = file else { return name.to_owned() };
        let about = file.metadata().ok();
        let size = about.as_ref().map_or(0, std::fs::Metadata::len);
        let time = about.and_then(|about| about.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        format!("{} {size} {time:?}", file.display())
    }
}

/// Whether its conditions hold.
fn is_wanted(step: &Step, tree: &Tree) -> bool {
    let there = |path: &String| {
        let path = path.trim_start_matches("./").trim_end_matches('/');
        tree.get(Path::new(path)).is_some()
    };
    step.present.as_ref().is_none_or(there) && !step.absent.as_ref().is_some_and(there)
}
