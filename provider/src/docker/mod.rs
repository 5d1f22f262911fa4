//! Backend for Docker.
