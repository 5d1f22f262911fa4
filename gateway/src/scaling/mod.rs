//! How many replicas run: by hand, by load, and from zero.

pub mod idle;
mod room;
mod scaler;

pub use self::room::{Bounds, Places};
pub use self::scaler::{Cause, Scaler};
