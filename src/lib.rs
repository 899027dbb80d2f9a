//! bangpath: a store-and-forward bridge for mail and Usenet news over UUCP.
//!
//! The modules stand in the order of their floors: each uses only what stands above it in this list
//! (see docs/architecture.md; the `tidy` test holds the arrows).

// Floor 0
pub mod base;
// Floor 1
pub mod dialogue;
pub mod wire;
// Floor 2
pub mod proto;
// Floor 3
pub mod files;
pub mod link;
pub mod session;
pub mod store;
// Floor 4
pub mod mail;
pub mod news;
pub mod sched;
// Floor 5
pub mod call;
pub mod gate;
// Floor 6
pub mod config;
// Floor 7
pub mod daemon;
// Floor 8
pub mod cli;
