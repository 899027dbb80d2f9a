//! Bytes and values, both ways: total, bounded, no state beyond a buffer.

pub mod batch;
pub mod bsmtp;
pub mod compress;
pub mod header;
pub mod line_test;
pub mod nntp;
pub mod packet;
pub mod packing;
pub mod patch;
pub mod smtp;
pub mod text;
pub mod uucp;
