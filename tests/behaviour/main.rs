//! Behaviour of the whole and of its parts, without network, real clock or root.

mod config;
mod sim;
mod store;
mod tidy;
