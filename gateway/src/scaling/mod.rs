//! How many replicas run: by hand, by load, and from zero.

mod autoscaler;
mod desired;
pub mod idle;
mod journal;
mod load;
mod prometheus;
mod room;
mod scaler;
mod watched;
mod window;

pub use self::autoscaler::{Autoscaler, Options};
pub use self::journal::{Cause, Decision, Journal, Numbers, Record};
pub use self::load::{Look, Used};
pub use self::prometheus::Queries;
pub use self::room::{Bounds, Places};
pub use self::scaler::Scaler;
pub use self::window::Timing;
