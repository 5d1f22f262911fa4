//! Attempts to get out of the sandbox, each of which must fail, and what must go on working; by
//! the real program, on this kernel.
//!
//! Everything is tried in several *settings*: as root for another user, as root for itself, as a
//! plain user, and as a plain user where the kernel gives no namespaces. A setting that cannot be
//! had here makes its tests count as ignored, and the output says why; with
//! `FLINT_TEST_SANDBOX=required` they fail instead.

mod calls;
mod escapes;
mod life;
mod limits;
mod refusals;
mod replica;
mod setting;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use setting::Setting;

/// One thing to try.
type Case = (&'static str, fn(Setting));

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let required = std::env::var("FLINT_TEST_SANDBOX").is_ok_and(|value| value == "required");
    let mut trials = Vec::new();
    for setting in Setting::ALL {
        let absent = setting.absent();
        if let (Some(reason), false) = (&absent, arguments.list) {
            eprintln!("\n*** sandbox tests of {:?} are SKIPPED: {reason} ***\n", setting.name());
        }
        let skipped = absent.is_some() && !required;
        let all = [escapes::CASES, calls::CASES, limits::CASES, life::CASES, refusals::CASES];
        trials.extend(all.concat().into_iter().map(|(name, case)| {
            Trial::test(format!("{}::{name}", setting.name()), move || run(case, setting))
                .with_ignored_flag(skipped)
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    setting::remove_program();
    conclusion.exit_code()
}

fn run(case: fn(Setting), setting: Setting) -> Result<(), Failed> {
    if let Some(reason) = setting.absent() {
        return Err(reason.into());
    }
    case(setting);
    Ok(())
}
