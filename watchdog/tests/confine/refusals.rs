//! What cannot be run, and what is said about it.

use std::fs;

use provider::confine::{Network, Spec};

use crate::Case;
use crate::replica::{Replica, State, assert_has};
use crate::setting::Setting;

pub(crate) const CASES: &[Case] = &[
    ("refuses a spec that is none", refuses_a_broken_spec),
    ("refuses what is not there", refuses_what_is_missing),
    ("refuses an id that is a path", refuses_bad_ids),
    ("refuses gaps when the sandbox is required", refuses_gaps),
    ("refuses to run as another user without the right", refuses_another_user),
];

/// Why a replica with such a spec does not run.
fn refusal(setting: Setting, change: impl FnOnce(&mut Spec, &State)) -> String {
    let mut replica = Replica::launch(setting, change);
    assert_eq!(replica.wait().code(), Some(1));
    let exit = replica.exit();
    assert_eq!((exit.code, exit.signal), (None, None));
    assert!(!replica.layout.socket().exists());
    exit.error
}

fn refuses_a_broken_spec(setting: Setting) {
    for text in ["", "{", "{\"replica\": 7}"] {
        let mut replica = Replica::launch_text(setting, State::new(setting), text);
        let error = replica.exit().error;
        assert_has(
            &error,
            &["spec.json is not what a backend writes", "deploy the function again"],
        );
    }
}

fn refuses_what_is_missing(setting: Setting) {
    let error = refusal(setting, |spec, state| spec.bundle = state.path("bundles/gone"));
    assert_has(&error, &["bundles/gone", "deploy the function again"]);
    let error = refusal(setting, |spec, state| spec.bundle = state.path("bundles/mine/code"));
    assert_has(&error, &["is not a folder"]);
    let error = refusal(setting, |spec, _| spec.readable = vec!["/usr/gone".into()]);
    assert_has(&error, &["/usr/gone", "install it again"]);
    let error = refusal(setting, |spec, _| spec.readable = vec!["/".into()]);
    assert_has(&error, &["must be an absolute path below /"]);
}

fn refuses_bad_ids(setting: Setting) {
    for id in ["", "../up", "a/b"] {
        let error = refusal(setting, |spec, _| spec.replica = id.to_owned());
        assert_has(&error, &[&format!("{id:?}"), "letters, digits"]);
    }
}

fn refuses_gaps(setting: Setting) {
    let usual = Replica::start(setting).report().gaps;
    let require = |spec: &mut Spec, _: &State| spec.required = true;
    if usual.is_empty() {
        Replica::start_with(setting, require);
        return;
    }
    let error = refusal(setting, require);
    assert_has(&error, &["the sandbox is required"]);
    for gap in usual {
        assert_has(&error, &[&gap.measure, &gap.reason]);
    }
}

fn refuses_another_user(setting: Setting) {
    if !setting.is_plain() {
        return;
    }
    let network = if setting.has_namespaces() { Network::None } else { Network::Host };
    let error = refusal(setting, |spec, _| {
        spec.user = Some(1);
        spec.network = network;
    });
    assert_has(&error, &["user 1", "run the gateway as root"]);
    assert!(fs::metadata("/etc").is_ok());
}
