//! Odd and malformed HTTP, as bytes over real sockets, through the gateway's data path to an
//! upstream that writes down what it got.
//!
//! Each row is a test of its own. The references are RFC 9110 and RFC 9112; where they leave a
//! choice, the stricter one is taken: two hops must not read the same bytes differently. Whatever a
//! row does, the upstream gets well-formed requests only, each of them whole or visibly cut, and
//! the next request is answered with its own answer.

mod answers;
mod bodies;
mod case;
mod chunks;
mod framing;
mod heads;
mod hops;
mod house;
mod life;
mod paths;
mod play;
mod targets;
mod upstream;
mod wire;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use case::Case;

/// A file's rows.
type Table = fn() -> Vec<Case>;

const TABLES: [(&str, Table); 9] = [
    ("framing", framing::cases),
    ("chunks", chunks::cases),
    ("heads", heads::cases),
    ("targets", targets::cases),
    ("paths", paths::cases),
    ("hops", hops::cases),
    ("life", life::cases),
    ("answers", answers::cases),
    ("bodies", bodies::cases),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = TABLES.into_iter().flat_map(|(table, cases)| {
        cases().into_iter().map(move |case| {
            let name = format!("{table}::{}", case.name);
            Trial::test(name, move || play::play(&case).map_err(Failed::from))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
