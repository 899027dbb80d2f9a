//! Mail: the one way in, routing, rewriting, bounces.
