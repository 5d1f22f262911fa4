//! Entry point of `faas`.

use std::process::ExitCode;

use clap::FromArgMatches;
use faas::{Cli, Environment, config, error, exit};

fn main() -> ExitCode {
    let matches = match faas::command().try_get_matches() {
        Ok(matches) => matches,
        Err(wrong) => return refuse(&wrong),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(wrong) => return refuse(&wrong),
    };
    match start(cli, config::from_env()) {
        Ok(()) => exit::SUCCESS.into(),
        Err(wrong) => {
            let code = error::exit_code(&wrong);
            error::report(&wrong);
            code.into()
        }
    }
}

fn start(cli: Cli, env: Environment) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(faas::run(cli, env));
    // A read of the terminal may still be under way, and nobody waits for it.
    runtime.shutdown_background();
    result
}

/// Help and version go to stdout and are no failure; anything else is a usage error.
fn refuse(wrong: &clap::Error) -> ExitCode {
    let code = if wrong.use_stderr() { exit::USAGE } else { exit::SUCCESS };
    // A reader that went away is no error.
    let _ = wrong.print();
    code.into()
}
