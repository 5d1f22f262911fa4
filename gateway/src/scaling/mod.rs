//! How many replicas run: by hand, by load, and from zero.

mod desired;
pub mod idle;
mod journal;
mod room;
mod scaler;
mod window;

pub use self::journal::{Cause, Decision, Journal, Numbers, Record};
pub use self::room::{Bounds, Places};
pub use self::scaler::Scaler;
