//! Builds with templates whose steps are small shell scripts.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::template::Template;

/// A project with one function `f` in a folder with an awkward name.
struct Project {
    folder: TempDir,
    env: Environment,
}

const COUNTED: &str = "
local:
  steps:
  - run: sh -c 'echo installed $X with $(cat function/deps) > out/pkg; echo x >> \"$0/count\"' ${cache}
    if: function/deps
    inputs: [function/deps]
    outputs: [out]
  - run: mv nothing else
    if: function/absent
  - run: mv nothing else
    unless: function/deps
";

impl Project {
    fn new(manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut env = Environment::default();
        env.building.state_dir = Some(folder.path().join("state"));
        let project = Self { folder, env };
        project.write("template/t/template.yml", &format!("fprocess: cat\n{manifest}"));
        project.write("template/t/index.sh", "server");
        project.write("template/t/out/.keep", "");
        project.write("größe 1/deps", "a");
        project.write("größe 1/handler.sh", "one");
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn plan(&self) -> Plan {
        let template = Template::find(self.folder.path(), "t").unwrap().unwrap();
        Plan {
            name: "f".to_owned(),
            handler: self.folder.path().join("größe 1"),
            local: template.manifest.local.clone().unwrap(),
            template: Arc::new(template),
            arguments: [("X".to_owned(), "1".to_owned())].into(),
            copy: Vec::new(),
            path: "/bin:/usr/bin".to_owned(),
            fresh: false,
            warnings: Vec::new(),
        }
    }

    async fn build(&self) -> Result<Bundle> {
        self.build_as(&self.plan()).await
    }

    async fn build_as(&self, plan: &Plan) -> Result<Bundle> {
        build(plan, &self.env, &mut Progress::new(true).start("f")).await
    }

    /// How often the step ran that counts.
    fn count(&self) -> usize {
        let [slot] = &self.slots()[..] else { panic!("one function") };
        fs::read_to_string(slot.join("persist/count")).unwrap().lines().count()
    }

    fn slots(&self) -> Vec<PathBuf> {
        let root = self.folder.path().join("state/build");
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn file(&self, bundle: &Bundle, wanted: &str) -> Option<String> {
        let packed = fs::File::open(&bundle.archive).unwrap();
        let mut archive = tar::Archive::new(zstd::Decoder::new(packed).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap() == Path::new(wanted) {
                return Some(std::io::read_to_string(&mut entry).unwrap());
            }
        }
        None
    }
}

#[tokio::test]
async fn a_step_runs_only_when_its_inputs_change() {
    let project = Project::new(COUNTED);
    let first = project.build().await.unwrap();
    assert_eq!(project.file(&first, "out/pkg").as_deref(), Some("installed 1 with a\n"));
    assert_eq!(project.file(&first, "function/handler.sh").as_deref(), Some("one"));
    assert_eq!(project.file(&first, "index.sh").as_deref(), Some("server"));
    assert_eq!(project.build().await.unwrap(), first, "the same digest");

    project.write("größe 1/handler.sh", "two");
    let second = project.build().await.unwrap();
    assert_eq!(project.file(&second, "function/handler.sh").as_deref(), Some("two"));
    assert_eq!(project.file(&second, "out/pkg").as_deref(), Some("installed 1 with a\n"));
    assert_eq!(project.count(), 1, "no step ran for it");

    project.write("größe 1/deps", "b");
    let third = project.build().await.unwrap();
    assert_eq!(project.file(&third, "out/pkg").as_deref(), Some("installed 1 with b\n"));
    project.write("größe 1/deps", "a");
    let back = project.build().await.unwrap();
    assert_eq!((back.digest, project.count()), (second.digest, 2), "both outcomes are kept");

    let mut other = project.plan();
    other.arguments.insert("X".to_owned(), "2".to_owned());
    let fourth = project.build_as(&other).await.unwrap();
    assert_eq!(project.file(&fourth, "out/pkg").as_deref(), Some("installed 2 with a\n"));
    assert_eq!(latest(&project.env, "f", &other.handler).unwrap().unwrap(), fourth);
}

#[tokio::test]
async fn without_the_cache_everything_runs_again() {
    let project = Project::new(COUNTED);
    let first = project.build().await.unwrap();
    let fresh = project.build_as(&Plan { fresh: true, ..project.plan() }).await.unwrap();
    assert_eq!(fresh, first);
    assert_eq!(project.count(), 1, "the folder that persists was emptied too");
}

#[tokio::test]
async fn damaged_outputs_are_made_again() {
    let project = Project::new(COUNTED);
    let first = project.build().await.unwrap();
    let damage = |how: &dyn Fn(&Path)| {
        let steps = fs::read_dir(project.slots()[0].join("steps")).unwrap();
        steps.for_each(|step| how(&step.unwrap().path()));
    };
    damage(&|step| fs::write(step.join("files/out/pkg"), "").unwrap());
    assert_eq!(project.build().await.unwrap(), first);
    damage(&|step| fs::remove_dir_all(step.join("files")).unwrap());
    assert_eq!(project.build().await.unwrap(), first);
    damage(&|step| fs::write(step.join("list.json"), "{").unwrap());
    assert_eq!(project.build().await.unwrap(), first);
    assert_eq!(project.count(), 4);
}

#[tokio::test]
async fn a_failed_step_shows_its_words_and_leaves_nothing() {
    let project = Project::new(
        "local:\n  steps:\n  - run: sh -c 'echo to out; echo oops >&2; touch out/x; exit 3'\n    \
         inputs: [function]\n    outputs: [out]\n",
    );
    let error = project.build().await.unwrap_err();
    let text = crate::error::render(&error);
    assert!(text.contains("function f could not be built"), "{text}");
    assert!(text.contains("exit status: 3\n  | to out\n  | oops"), "{text}");
    assert!(!project.slots()[0].join("steps").exists());
    assert!(latest(&project.env, "f", Path::new("größe 1")).unwrap().is_none());
}

#[tokio::test]
async fn steps_without_inputs_run_each_time_and_may_make_anything() {
    let project = Project::new(
        "local:\n  steps:\n  - run: sh -c 'cp function/handler.sh ./made; chmod +x made'\n  \
         - run: sh -c 'cat made > two'\n    in: .\n    outputs: [two]\n",
    );
    let first = project.build().await.unwrap();
    assert_eq!(project.file(&first, "made").as_deref(), Some("one"));
    project.write("größe 1/handler.sh", "new");
    let second = project.build().await.unwrap();
    assert_eq!(project.file(&second, "two").as_deref(), Some("new"));
}

#[tokio::test]
async fn outputs_that_lead_out_are_refused() {
    let project = Project::new(
        "local:\n  steps:\n  - run: ln -s /etc/passwd out/x\n    inputs: [function]\n    \
         outputs: [out]\n",
    );
    let error = format!("{:#}", project.build().await.unwrap_err());
    assert!(error.contains("out/x points to /etc/passwd"), "{error}");
}

#[tokio::test]
async fn a_folder_or_program_that_is_not_there_is_named() {
    let project = Project::new("local:\n  steps:\n  - run: \"true\"\n    in: nowhere\n");
    let error = format!("{:#}", project.build().await.unwrap_err());
    assert!(error.contains("runs in \"nowhere\", no folder"), "{error}");
    let project = Project::new("local:\n  steps:\n  - run: no-such-program x\n");
    let error = format!("{:#}", project.build().await.unwrap_err());
    assert!(error.contains("the program no-such-program cannot be run"), "{error}");
}

#[tokio::test]
async fn checks_name_what_they_do_not_like() {
    let project =
        Project::new("local:\n  check:\n  - run: sh -n\n    files: ['function/**/*.sh']\n");
    project.write("größe 1/bad.sh", "if\n");
    project.write("größe 1/node_modules/x.sh", "if\n");
    let plan = project.plan();
    let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
    let good = files(&["handler.sh", "deps", "gone.sh", "node_modules/x.sh"]);
    check(&plan, &good).await.unwrap();
    let error = check(&plan, &files(&["bad.sh", "handler.sh"])).await.unwrap_err().to_string();
    assert!(error.contains("größe 1/bad.sh") && error.contains('2'), "{error}");
}

#[test]
fn a_bundle_is_named_as_images_are() {
    let digest = Digest::new([1; 32]);
    let bundle = Bundle { name: "f".to_owned(), digest, archive: PathBuf::new() };
    assert_eq!(bundle.image(), format!("bundle:f@sha256:{}", "01".repeat(32)));
}
