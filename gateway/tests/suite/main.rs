//! The gateway's parts together: data path and API over real sockets, with a scripted provider.

mod bundles;
mod calls;
mod grpc;
mod house;
mod limits;
mod peers;
mod refusals;
mod slots;
mod tls;
mod upstream;
mod wakes;
