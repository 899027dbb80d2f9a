//! Bytes and values, both ways: total, bounded, no state beyond a buffer.

pub mod packet;
