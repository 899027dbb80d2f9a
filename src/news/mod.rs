//! News: the one way in, feeds.
