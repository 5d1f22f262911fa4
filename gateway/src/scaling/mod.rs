//! How many replicas run: by hand, by load, and from zero.

mod scaler;

pub use self::scaler::Scaler;
