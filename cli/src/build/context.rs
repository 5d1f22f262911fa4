//! Makes build contexts (contract 6.3).

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{dockerfile, watchdog};
use crate::error::hinted;
use crate::template::{FOLDER as TEMPLATES, Template};
use crate::tree::{Content, Node, Tree};

/// The folder of written build contexts.
pub(crate) const FOLDER: &str = "build";
/// The file that every context needs.
const DOCKERFILE: &str = "Dockerfile";

/// What a build context is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// The function, for errors.
    pub(crate) name: &'a str,
    /// The folder of its source.
    pub(crate) handler: &'a Path,
    /// What surrounds it; `None`: the handler is the whole context.
    pub(crate) template: Option<&'a Template>,
    /// Paths of the project that it gets beside its own.
    pub(crate) copy: &'a [String],
    /// The watchdog's binary, when there is one.
    pub(crate) watchdog: Option<&'a Path>,
}

/// The build context: template, handler, extra paths, watchdog.
///
/// The handler's `.dockerignore` is about the handler's folder, the template's about the whole
/// context. A pulled template's starter stays below the handler, as in the reference: files that
/// the handler lacks come from it. That of a built-in template does not: what was removed from a
/// handler is gone.
pub(crate) fn assemble(parts: Parts<'_>) -> Result<Tree> {
    let mut context = sources(parts)?;
    let Some(text) = context.file(DOCKERFILE)? else { return Err(no_dockerfile(parts)) };
    add_watchdog(&mut context, &String::from_utf8_lossy(&text), parts.watchdog)?;
    Ok(context)
}

/// The build context without what only Docker needs.
pub(crate) fn sources(parts: Parts<'_>) -> Result<Tree> {
    let mut context = Tree::default();
    let mut at = Path::new("");
    if let Some(template) = parts.template {
        context = template.tree()?;
        at = template.handler_folder();
        if template.folder.is_none() {
            context.remove(at);
        }
    }
    context.graft(at, handler(parts)?);
    for path in parts.copy {
        copy_extra(&mut context, at, path)?;
    }
    if parts.template.is_some() {
        context.ignore_own(Path::new(TEMPLATES))?;
    }
    Ok(context)
}

fn handler(parts: Parts<'_>) -> Result<Tree> {
    if !parts.handler.is_dir() {
        let message =
            format!("the handler of {}, {}, is no folder", parts.name, parts.handler.display());
        return Err(hinted(message, "set `handler:` to the folder of its source"));
    }
    let skipped = [FOLDER, TEMPLATES].map(Path::new);
    Tree::read(parts.handler, &|path| skipped.contains(&path))
}

fn no_dockerfile(parts: Parts<'_>) -> anyhow::Error {
    let place = match parts.template {
        Some(template) => format!("template {}", template.name),
        None => parts.handler.display().to_string(),
    };
    hinted(format!("{place} has no {DOCKERFILE}"), "a build needs one")
}

fn add_watchdog(context: &mut Tree, text: &str, binary: Option<&Path>) -> Result<()> {
    let path = Path::new(dockerfile::WATCHDOG);
    if context.get(path).is_some() || !dockerfile::wants_watchdog(text) {
        return Ok(());
    }
    let binary = binary.ok_or_else(watchdog::missing)?;
    let content = Content::Path(binary.to_owned());
    context.put(path, Node::File { content, executable: true });
    Ok(())
}

/// Puts a path of the project into the handler's folder, under the same path.
fn copy_extra(context: &mut Tree, at: &Path, extra: &str) -> Result<()> {
    let named = || format!("copy: {extra}");
    let here = Path::new(".").canonicalize()?;
    let real = Path::new(extra).canonicalize().with_context(named)?;
    let inside = real.strip_prefix(&here).ok().filter(|inside| *inside != Path::new(""));
    let Some(inside) = inside else {
        let message = format!("copy: {extra} is not inside of the project's folder");
        return Err(hinted(message, "extra paths are files and folders beside the stack file"));
    };
    if real.is_dir() {
        context.graft(&at.join(inside), Tree::read(&real, &|_| false).with_context(named)?);
    } else {
        context.put(&at.join(inside), Tree::read_file(&real)?);
    }
    Ok(())
}

/// Writes a context to `build/<name>`, in place of what was there.
///
/// `build` is for its owner only, but on CI for all (contract 6.3).
pub(crate) fn shrinkwrap(context: &Tree, project: &Path, name: &str, ci: bool) -> Result<PathBuf> {
    let parent = project.join(FOLDER);
    let mode = if ci { 0o777 } else { 0o700 };
    let shown = |path: &Path| path.display().to_string();
    DirBuilder::new().recursive(true).mode(mode).create(&parent).with_context(|| shown(&parent))?;
    let target = parent.join(name);
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| shown(&target))?;
    }
    context.write(&target)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Project {
        folder: tempfile::TempDir,
    }

    impl Project {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self { folder }
        }

        fn path(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }

        fn template(&self, name: &str) -> Template {
            Template::find(self.folder.path(), name).unwrap().unwrap()
        }
    }

    fn files(tree: &Tree) -> Vec<String> {
        let file = |(path, node): (&Path, &Node)| {
            matches!(node, Node::File { .. }).then(|| path.display().to_string())
        };
        tree.nodes().filter_map(file).collect()
    }

    fn parts<'a>(handler: &'a Path, template: Option<&'a Template>) -> Parts<'a> {
        Parts { name: "f", handler, template, copy: &[], watchdog: None }
    }

    #[test]
    fn template_handler_and_watchdog() {
        let project = Project::new(&[
            ("template/t/template.yml", "handler_folder: src\n"),
            ("template/t/Dockerfile", "FROM scratch\nCOPY fwatchdog /\n"),
            ("template/t/.dockerignore", "template.yml\nsrc/*.log\nfwatchdog\n"),
            ("template/t/src/handler.js", "starter"),
            ("template/t/src/package.json", "starter"),
            ("f/handler.js", "mine"),
            ("f/a.log", ""),
            ("f/secret.env", ""),
            ("f/.dockerignore", "*.env"),
            ("f/build/out", ""),
            ("f/template/x", ""),
            ("f/lib/build/kept", ""),
            ("w", "binary"),
        ]);
        let template = project.template("t");
        let (handler, binary) = (project.path("f"), project.path("w"));
        let mut parts = parts(&handler, Some(&template));
        assert!(assemble(parts).unwrap_err().to_string().contains("watchdog is not found"));
        parts.watchdog = Some(&binary);
        let context = assemble(parts).unwrap();
        let want = [
            ".dockerignore",
            "Dockerfile",
            "fwatchdog",
            "src/.dockerignore",
            "src/handler.js",
            "src/lib/build/kept",
            "src/package.json",
        ];
        assert_eq!(files(&context), want);
        assert_eq!(context.file("src/handler.js").unwrap().unwrap(), b"mine");
        assert!(matches!(
            context.get(Path::new("fwatchdog")),
            Some(Node::File { executable: true, .. })
        ));
    }

    #[test]
    fn a_dockerfile_of_ones_own() {
        let project = Project::new(&[
            ("f/Dockerfile", "FROM scratch\nCOPY . .\n"),
            ("f/.dockerignore", "**/*.md\n!README.md\nDockerfile\n"),
            ("f/README.md", ""),
            ("f/docs/a.md", ""),
            ("f/build/x", ""),
        ]);
        let handler = project.path("f");
        let context = assemble(parts(&handler, None)).unwrap();
        assert_eq!(files(&context), [".dockerignore", "Dockerfile", "README.md"]);
        fs::remove_file(handler.join("Dockerfile")).unwrap();
        let error = assemble(parts(&handler, None)).unwrap_err().to_string();
        assert!(error.ends_with("has no Dockerfile"), "{error}");
        let error = assemble(parts(&project.path("none"), None)).unwrap_err().to_string();
        assert!(error.contains("is no folder"), "{error}");
    }

    #[test]
    fn extra_paths_stay_in_the_project() {
        let mut context = Tree::default();
        copy_extra(&mut context, Path::new("function"), "./src/build").unwrap();
        assert!(files(&context).contains(&"function/src/build/context.rs".to_owned()));
        for bad in ["/etc", "..", ".", "src/../../cli", "nothing-here"] {
            assert!(copy_extra(&mut context, Path::new(""), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_written_before_is_gone() {
        let project = Project::new(&[("f/Dockerfile", "FROM scratch"), ("build/f/old", "")]);
        let context = assemble(parts(&project.path("f"), None)).unwrap();
        let target = shrinkwrap(&context, project.folder.path(), "f", false).unwrap();
        assert!(target.join("Dockerfile").is_file() && !target.join("old").exists());
    }
}
