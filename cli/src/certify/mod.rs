//! The check that no call fails while something changes: a load with a fixed timetable, and what
//! became of each of its calls.
//!
//! [`call`] is one call and what its answer must be, [`load`] makes them at their times, and
//! [`outcome`] tells what became of them. The project's own gate and `faas certify` use the same.

pub mod call;
pub mod load;
pub mod outcome;

pub use call::{Call, Connection, Content, Expect};
pub use load::{Load, Plan};
pub use outcome::{Failure, Outcome, Report, Step};
