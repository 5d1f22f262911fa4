//! What is remembered of a replica: one file in its folder, always replaced whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::refused;
use crate::replicas::deploy::Deploy;
use crate::replicas::engine::Blueprint;
use crate::replicas::files::{at, private_dir};
use crate::{Error, Result};

/// The file in a replica's folder.
const FILE: &str = "replica.json";
/// Begins the names of files that are being written.
const UNFINISHED: &str = ".new-";
/// The form of the file. A newer one is refused: its writer knew what we do not.
const SCHEMA: u32 = 1;
/// How long replicas may take to end at most when their gateway ends.
const LONGEST_GRACE: Duration = Duration::from_secs(10);

/// One replica, as it outlives the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The form of this file.
    schema: u32,
    /// What it was made for.
    pub(super) deploy: Deploy,
    /// The bundle's reference.
    pub(super) image: String,
    /// The user that it runs as; `None` is the gateway's own.
    pub(super) user: Option<u32>,
    /// How long it may take to end when its gateway ends.
    pub(super) grace: Duration,
    /// What is wanted of it.
    pub(super) wanted: Wanted,
    /// Whether its function was removed.
    pub(super) removed: bool,
    /// How often it was started again since it was last told to start.
    pub(super) restarts: u32,
    /// How often it was started at all.
    pub(super) runs: u64,
    /// When it was started the last time.
    pub(super) started_at: Option<Timestamp>,
}

/// What is wanted of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Wanted {
    /// Nothing yet: its deploy is not done.
    Nothing,
    /// To run, also after it ended by itself.
    Running,
    /// To be at rest.
    Stopped,
}

impl Record {
    /// The record of a new replica.
    pub(super) fn new(new: &Blueprint<'_>, user: Option<u32>) -> Self {
        Self {
            schema: SCHEMA,
            deploy: new.deploy.clone(),
            image: new.image.to_owned(),
            user,
            grace: new.stop_timeout.min(LONGEST_GRACE),
            wanted: Wanted::Nothing,
            removed: false,
            restarts: 0,
            runs: 0,
            started_at: None,
        }
    }

    /// Reads a replica's record. One that a newer version wrote is an error, so that nobody takes
    /// its folder for rubbish.
    pub(super) fn load(dir: &Path) -> Result<Found> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Found::Nothing);
            }
            Err(e) => return Ok(Found::Closed(at(&path)(e))),
        };
        match serde_json::from_slice::<Schema>(&bytes) {
            Ok(Schema { schema }) if schema > SCHEMA => {
                let path = path.display();
                Err(refused(format!(
                    "{path} was written by a newer version of Flint: use that one, or another \
                     state directory"
                )))
            }
            _ => Ok(serde_json::from_slice(&bytes)
                .map_or_else(Found::Torn, |record| Found::Record(Box::new(record)))),
        }
    }

    /// Keeps a record that cannot be understood where nobody looks for records; returns where.
    pub(super) fn put_aside(dir: &Path, aside: &Path) -> Result<PathBuf> {
        private_dir(aside)?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let to = aside.join(format!("{name}.json"));
        fs::rename(dir.join(FILE), &to).map_err(at(&to))?;
        Ok(to)
    }

    /// Writes the record for good.
    pub(super) fn save(&self, dir: &Path) -> Result<()> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::invalid("body", e.to_string()))?;
        write(&dir.join(FILE), &bytes, true)
    }

    /// Removes the record: the folder is nobody's from then on.
    pub(super) fn remove(dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map_err(at(&path)),
        }
    }
}

/// What is in a folder.
#[derive(Debug)]
pub(super) enum Found {
    /// A record.
    Record(Box<Record>),
    /// None.
    Nothing,
    /// One that cannot be understood.
    Torn(serde_json::Error),
    /// One, or none, that we may not see.
    Closed(Error),
}

/// What every form of the record has.
#[derive(Deserialize)]
struct Schema {
    schema: u32,
}

/// Writes a private file so that a crash leaves the old one or the new one, never half of one;
/// `durable` says whether that holds for the machine's crash too.
pub(super) fn write(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = dir.join(format!("{UNFINISHED}{name}"));
    let written = (|| -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        fs::rename(&unfinished, path)?;
        if durable { File::open(dir)?.sync_all() } else { Ok(()) }
    })();
    if written.is_err() {
        let _none_was_begun = fs::remove_file(&unfinished);
    }
    written.map_err(at(path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Function;
    use crate::replicas::files::Files;

    fn deploy(body: &str) -> Deploy {
        let function = Function::from_json(body.as_bytes()).unwrap();
        Deploy {
            name: function.name().unwrap(),
            function,
            generation: 7,
            created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_record_reads_back_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let deploy =
            deploy(r#"{"service":"echo","image":"i","envVars":{"a":"b"},"secrets":["s"]}"#);
        let new = Blueprint {
            deploy: &deploy,
            replica: "echo.1",
            image: "bundle:x",
            files: &Files::open(&dir.path().join("state")).unwrap().of("echo.1"),
            stop_timeout: Duration::from_secs(60),
        };
        let mut record = Record::new(&new, Some(7));
        record.wanted = Wanted::Running;
        record.save(dir.path()).unwrap();
        let Found::Record(back) = Record::load(dir.path()).unwrap() else { panic!("no record") };
        assert_eq!((back.deploy.function, back.deploy.generation), (deploy.function, 7));
        assert_eq!(
            (back.wanted, back.user, back.image.as_str()),
            (Wanted::Running, Some(7), "bundle:x")
        );
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(back.grace, LONGEST_GRACE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing unfinished is left");
        Record::remove(dir.path()).unwrap();
        Record::remove(dir.path()).unwrap();
        assert!(matches!(Record::load(dir.path()).unwrap(), Found::Nothing));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_unfinished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir(&path).unwrap();
        write(&path, b"{}", true).unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn rubbish_is_no_record_and_a_newer_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let load = |dir: &Path| Record::load(dir).unwrap();
        assert!(matches!(load(&dir.path().join("absent")), Found::Nothing));
        for rubbish in ["", "{", r#"{"schema":1}"#] {
            fs::write(dir.path().join(FILE), rubbish).unwrap();
            assert!(matches!(load(dir.path()), Found::Torn(_)), "{rubbish}");
            let aside = Record::put_aside(dir.path(), &dir.path().join("aside")).unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), rubbish);
            assert!(matches!(load(dir.path()), Found::Nothing));
        }
        fs::create_dir(dir.path().join(FILE)).unwrap();
        assert!(matches!(load(dir.path()), Found::Closed(_)));
        fs::remove_dir(dir.path().join(FILE)).unwrap();
        fs::write(dir.path().join(FILE), r#"{"schema":2,"new":true}"#).unwrap();
        let error = Record::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("newer version"), "{error}");
    }
}
