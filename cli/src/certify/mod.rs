//! The check that no call fails while something changes: a load with a fixed timetable, and what
//! became of each of its calls.
//!
//! [`call`] is one call and what its answer must be, [`load`] makes them at their times, and
//! [`outcome`] tells what became of them; the project's own gate uses these too. [`subject`] is the
//! function that `faas certify` calls, [`run`] what it puts it through, and [`show`] the report.

pub mod call;
pub mod load;
pub mod outcome;
pub mod run;
pub mod show;
pub mod subject;

pub use crate::gateway::Trust;
pub use call::{Call, Connection, Content, Expect};
pub use load::{Load, Plan};
pub use outcome::{Failure, Outcome, Report, Step};
pub use subject::{Chosen, Subject};
