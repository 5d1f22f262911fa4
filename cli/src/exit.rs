//! Exit codes.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; also when the reader of stdout went away |
//! | 1 | failed: the gateway, the function or a file said no; one of several functions failed |
//! | 2 | wrong usage: unknown flags, missing or contradicting arguments |
//! | 130 | broken off with Ctrl-C, or by a signal to end |

/// Done.
pub const SUCCESS: u8 = 0;
/// It failed.
pub const FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// It was broken off.
pub const INTERRUPTED: u8 = 130;
