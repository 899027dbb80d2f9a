//! Configuration: read in one place, handed down as plain structs.
