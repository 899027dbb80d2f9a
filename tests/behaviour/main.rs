//! Behaviour of the whole and of its parts, without network, real clock or root.

mod sim;
mod store;
