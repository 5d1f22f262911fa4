//! How many replicas run: by hand, by load, and from zero.

mod journal;
mod scaler;

pub use self::journal::{Cause, Decision, Journal, Numbers, Record};
pub use self::scaler::Scaler;
