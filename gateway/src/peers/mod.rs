//! Other gateways in front of the same functions: who leads, and what the others have to do.

mod circle;
mod lead;
mod letter;
mod report;
mod tally;

pub use self::circle::Circle;
pub use self::lead::Lead;
pub use self::letter::{Counts, Letter, Note};
pub use self::report::{Answer, Client, Failure, PEER_HEADER, Reporter};
pub use self::tally::{Peers, Refusal, Seen, Tally};
