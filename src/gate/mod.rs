//! The connected side and the local clients: SMTP and NNTP, in and out.

#[cfg(test)]
mod script;
pub mod smtp_in;
pub mod smtp_out;
