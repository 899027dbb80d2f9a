//! Value types that two or more floors share, each parsed once.

pub mod address;
pub mod limits;
pub mod names;
pub mod newsgroup;
pub mod password;
pub mod time;
pub mod wishes;
pub mod words;
