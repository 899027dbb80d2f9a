//! The connected side and the local clients: SMTP and NNTP, in and out.

mod client;
pub mod nntp_in;
pub mod nntp_out;
#[cfg(test)]
mod script;
mod server;
pub mod smtp_in;
pub mod smtp_out;
mod text;
