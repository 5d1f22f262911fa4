//! One gateway takes the place of another, on the same ports and state folder, while calls go on.
//!
//! The new one asks over a unix socket in the state folder. It is given the very sockets that
//! accept connections, so no connection is ever refused: what the old one has not accepted waits
//! for the new one. Then the old one lets go of what runs and of the state folder, finishes its
//! calls, and ends. Replicas run on throughout.

mod desk;
mod door;
mod heir;
mod link;
mod stage;

pub use self::desk::{Desk, Visitor};
pub use self::door::{back_door, open_door};
pub use self::heir::Predecessor;
pub use self::link::{Given, Role};
pub use self::stage::{Leaving, Stage};

/// The file in the state folder through which gateways talk.
const SOCKET_FILE: &str = "gateway.sock";
/// The file in the state folder through which a gateway that leaves passes calls on.
const BACK_DOOR_FILE: &str = "successor.sock";
/// What the new gateway says when it can go on alone.
const RELEASE: &str = "release";
/// What the old one says when it has let go of everything.
const RELEASED: &str = "released";
/// What the new one says when it serves.
const SERVING: &str = "serving";
