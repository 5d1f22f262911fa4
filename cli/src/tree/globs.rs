//! Patterns of paths, as the `local:` part of a template has them.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns such as `function/**/*.js`; one that takes a folder takes everything in it.
///
/// `*` and `?` stop at a slash, `**` does not. A pattern without any of `*?[{` is a path.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    everything: bool,
    paths: Vec<PathBuf>,
    patterns: GlobSet,
}

impl Globs {
    /// Reads a list of patterns.
    pub fn new(list: &[String]) -> Result<Self, globset::Error> {
        let mut globs = Self::default();
        let mut patterns = GlobSetBuilder::new();
        for text in list {
            let text = text.trim_start_matches("./").trim_end_matches('/');
            if text == "**" {
                globs.everything = true;
            } else if text.contains(['*', '?', '[', '{']) {
                patterns.add(GlobBuilder::new(text).literal_separator(true).build()?);
            } else {
                globs.paths.push(PathBuf::from(text));
            }
        }
        globs.patterns = patterns.build()?;
        Ok(globs)
    }

    /// Whether a path is taken.
    pub fn take(&self, path: &Path) -> bool {
        if self.everything || self.paths.iter().any(|folder| path.starts_with(folder)) {
            return true;
        }
        let named = path.ancestors().filter(|path| *path != Path::new(""));
        !self.patterns.is_empty() && named.into_iter().any(|path| self.patterns.is_match(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(list: &[&str], path: &str) -> bool {
        let list: Vec<String> = list.iter().map(|text| (*text).to_owned()).collect();
        Globs::new(&list).unwrap().take(Path::new(path))
    }

    #[test]
    fn files_folders_and_stars() {
        assert!(take(&["**"], "a/b"));
        assert!(take(&["./a/b/"], "a/b/c") && !take(&["a/b"], "a/bc"));
        assert!(take(&["function/**/*.js"], "function/a.js"));
        assert!(take(&["function/**/*.js"], "function/x/y/a.js"));
        assert!(!take(&["function/*.js"], "function/x/a.js"));
        assert!(take(&["function/x*"], "function/xy/a.js"), "a folder takes what is in it");
        assert!(!take(&[], "a"));
        assert!(Globs::new(&["a[".to_owned()]).is_err());
    }
}
