//! The golden table of throughput: what share of the line rate each protocol turns into file bytes.
