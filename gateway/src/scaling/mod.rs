//! How many replicas run: by hand, by load, and from zero.

mod desired;
mod journal;
mod scaler;
mod window;

pub use self::journal::{Cause, Decision, Journal, Numbers, Record};
pub use self::scaler::Scaler;
