//! Behaviour of the whole and of its parts, without network, real clock or root.

mod bad_input;
mod batches;
mod calls;
mod commands;
mod config;
mod cuts;
mod docs;
mod doctor;
mod executions;
mod fuzz;
mod lines;
mod old_peers;
mod sim;
mod site;
mod store;
mod tidy;
mod wishes;
