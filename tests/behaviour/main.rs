//! What the program does as a whole, by its library's outside.

mod store;
