//! Gets the template of a function, from wherever it is.

use std::path::Path;

use anyhow::Result;

use super::git::{Wanted, pull_some};
use super::{GitSource, Pin, Store, Template, canonical, names};
use crate::error::{caused, hinted};
use crate::output::talk;
use crate::stack::TemplateSource;

/// How templates are got.
#[derive(Clone, Copy, Debug)]
pub struct Obtain<'a> {
    /// The folder that holds `template/`.
    pub project: &'a Path,
    /// The stack's `configuration.templates`.
    pub configured: &'a [TemplateSource],
    /// URL or path of the template store; `None` is the default one.
    pub store: Option<&'a str>,
    /// Whether templates may be pulled.
    pub pull: bool,
}

/// The template of that name (`lang` or `lang@ref`): in the project's folder, built in, or pulled:
/// from the source that the stack names, else from the one that the template store knows.
///
/// A source that the stack names comes before a built-in template.
pub async fn obtain(lang: &str, from: Obtain<'_>) -> Result<Template> {
    let lang = canonical(lang);
    let configured =
        from.configured.iter().find(|source| is_for(source, &lang) && source.source.is_some());
    let found = Template::find(from.project, &lang)?;
    let named = configured.is_some() && from.pull;
    if let Some(found) = found.filter(|found| found.folder.is_some() || !named) {
        return Ok(found);
    }
    if !from.pull {
        return Err(missing(&lang, from.project));
    }
    let source = match configured.and_then(|source| source.source.as_deref()) {
        Some(source) => GitSource::parse(source)?,
        None => known(&lang, from).await?,
    };
    fetch(&lang, source, from.project).await
}

/// Pulls one template, pinned when its name says so.
async fn fetch(lang: &str, source: GitSource, project: &Path) -> Result<Template> {
    let (name, pin) = split(lang)?;
    let source = source.at(pin);
    talk(&format!("Pulling template {lang} from {}", source.repository));
    let wanted = Wanted { only: Some((name, lang)), overwrite: true };
    pull_some(project, &source, wanted).await?;
    Template::find(project, lang)?.ok_or_else(|| missing(lang, project))
}

async fn known(lang: &str, from: Obtain<'_>) -> Result<GitSource> {
    let (name, _) = split(lang)?;
    let store = Store::fetch(from.store)
        .await
        .map_err(|error| caused(missing_text(lang), here(from.project), error))?;
    let entry = store.find(name).map_err(|_| missing(lang, from.project))?;
    entry.git()
}

fn is_for(source: &TemplateSource, lang: &str) -> bool {
    source.name == lang || lang.split_once('@').is_some_and(|(name, _)| name == source.name)
}

fn split(lang: &str) -> Result<(&str, Option<Pin>)> {
    match lang.split_once('@') {
        Some((name, pin)) => Ok((name, Some(Pin::parse(pin)?))),
        None => Ok((lang, None)),
    }
}

fn missing_text(lang: &str) -> String {
    format!("there is no template {lang} here")
}

fn missing(lang: &str, project: &Path) -> anyhow::Error {
    hinted(missing_text(lang), here(project))
}

fn here(project: &Path) -> String {
    let names: Vec<String> = names(project).into_iter().collect();
    format!("there are: {}; more come with `faas template pull`", names.join(", "))
}
