//! What Helm has rendered, as objects.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// Objects in the order in which they were rendered.
pub(crate) struct Manifests {
    pub(crate) all: Vec<Value>,
}

impl Manifests {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let documents = serde_yaml::Deserializer::from_str(text);
        let all = documents.map(Value::deserialize).collect::<Result<Vec<_>, _>>()?;
        let all: Vec<_> = all.into_iter().filter(|object| !object.is_null()).collect();
        for object in &all {
            let named = object["kind"].is_string() && object["metadata"]["name"].is_string();
            ensure!(named, "no object: {object:#}");
        }
        Ok(Self { all })
    }

    /// Those of a kind.
    pub(crate) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all.iter().filter(move |object| object["kind"] == kind)
    }

    /// The pods of all Deployments.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &Value> {
        self.of("Deployment").map(|deployment| &deployment["spec"]["template"]["spec"])
    }

    /// The one object of a kind.
    pub(crate) fn one(&self, kind: &str) -> Result<&Value> {
        self.only(kind, |_| true)
    }

    /// The object of a kind and a name.
    pub(crate) fn named(&self, kind: &str, name: &str) -> Result<&Value> {
        self.only(kind, |object| object["metadata"]["name"] == name)
    }

    fn only(&self, kind: &str, is_it: impl Fn(&Value) -> bool) -> Result<&Value> {
        let mut found = self.all.iter().filter(|object| object["kind"] == kind && is_it(object));
        let one = found.next().with_context(|| format!("no {kind}"))?;
        ensure!(found.next().is_none(), "several of kind {kind}");
        Ok(one)
    }
}
