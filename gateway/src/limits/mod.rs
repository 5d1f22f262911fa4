//! How many calls come in a time: of one client, and to one function. Nothing here is asked when
//! there is no limit.

mod addresses;
mod bucket;
mod clients;

pub use self::bucket::Bucket;
pub use self::clients::{Clients, TooMany};
