//! Byte streams to the outside, and the driver that runs a dialogue on one.
