//! Entry point: arguments, environment, exit code.

use std::collections::HashMap;
use std::process::ExitCode;

use watchdog::config::{self, Config};
use watchdog::{confine, log, server};

fn main() -> ExitCode {
    // First, because a part of it has to happen before there is any other thread.
    if let Some(code) = confine::main(std::env::args_os().skip(1)) {
        return code;
    }
    let environment: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match std::env::args().nth(1).as_deref() {
        None => serve(&environment),
        Some("-version" | "--version") => {
            println!("{}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Some("-run-healthcheck" | "--run-healthcheck") => {
            let healthy = config::lock_file(&environment).exists();
            if !healthy {
                eprintln!("unable to find lock file.");
            }
            ExitCode::from(u8::from(!healthy))
        }
        Some(other) => {
            eprintln!("unknown argument {other}; there are -version, -run-healthcheck and confine");
            ExitCode::from(2)
        }
    }
}

fn serve(environment: &HashMap<String, String>) -> ExitCode {
    let config = match Config::read(environment) {
        Ok(config) => config,
        Err(error) => return fail(error),
    };
    let runtime = match relay::threads::local_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start: {error}")),
    };
    match runtime.block_on(server::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error),
    }
}

fn fail(reason: impl std::fmt::Display) -> ExitCode {
    log::line(reason);
    ExitCode::FAILURE
}
