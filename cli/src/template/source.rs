//! Where a template's repository is, and which version of it is meant.

use anyhow::Result;

use crate::error::hinted;

/// A git repository and a version of it: `url`, `url#branch`, `url#tag`, `url#sha-0123abc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// URL or path.
    pub repository: String,
    /// The version; `None` is what the repository shows by default.
    pub pin: Option<Pin>,
}

/// A version of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A branch or tag.
    Name(String),
    /// A commit, 7 to 40 hexadecimal digits.
    Commit(String),
}

impl Pin {
    /// Reads `name` or `sha-<digits>`.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(sha) = text.strip_prefix("sha-") {
            let hex = sha.bytes().all(|b| b.is_ascii_hexdigit());
            if hex && (7..=40).contains(&sha.len()) {
                return Ok(Self::Commit(sha.to_lowercase()));
            }
            let hint = "a commit is `sha-` and 7 to 40 hexadecimal digits";
            return Err(hinted(format!("{text:?} names no commit"), hint));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./+".contains(c);
        if text.is_empty()
            || !text.chars().all(good)
            || text.starts_with('-')
            || text.contains("..")
        {
            return Err(hinted(
                format!("{text:?} is not a branch or tag"),
                "write URL#BRANCH or URL#TAG",
            ));
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// As a person writes it.
    pub fn text(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::Commit(sha) => format!("sha-{sha}"),
        }
    }
}

impl GitSource {
    /// Reads `url` or `url#ref`.
    pub fn parse(text: &str) -> Result<Self> {
        let (repository, pin) = match text.split_once('#') {
            Some((repository, pin)) => (repository, Some(Pin::parse(pin)?)),
            None => (text, None),
        };
        // Git would take it for an option.
        if repository.is_empty() || repository.starts_with('-') {
            return Err(hinted(
                format!("{text:?} is not a git repository"),
                "give a URL or a path",
            ));
        }
        Ok(Self { repository: repository.to_owned(), pin })
    }

    /// The same repository at another version.
    pub fn at(self, pin: Option<Pin>) -> Self {
        Self { pin: pin.or(self.pin), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let parse =
            |text| GitSource::parse(text).map(|s| (s.repository, s.pin.map(|pin| pin.text())));
        let url = "https://h/t.git".to_owned();
        assert_eq!(parse("https://h/t.git").unwrap(), (url.clone(), None));
        assert_eq!(parse("https://h/t.git#v1.0").unwrap(), (url.clone(), Some("v1.0".into())));
        assert_eq!(parse("https://h/t.git#a/b").unwrap(), (url, Some("a/b".into())));
        assert_eq!(
            GitSource::parse("x#sha-0123ABC").unwrap().pin,
            Some(Pin::Commit("0123abc".into()))
        );
        for bad in [
            "",
            "#a",
            "--upload-pack=x",
            "x#",
            "x#--a",
            "x#a b",
            "x#sha-12",
            "x#sha-xyzxyzx",
            "x#a..b",
        ] {
            assert!(GitSource::parse(bad).is_err(), "{bad}");
        }
    }
}
