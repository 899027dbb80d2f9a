//! Where the peers are, and what is done when one is missing.

use std::path::{Path, PathBuf};

/// A program of a peer: below `target/peers`, or installed. `None` where it is missing: then the test says so and ends,
/// unless this is CI, where a missing peer is a failure.
pub fn find(program: &str) -> Option<PathBuf> {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers").join(program);
    let installed = Path::new("/").join(program);
    let found = [unpacked, installed].into_iter().find(|p| p.exists());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{program} is missing: run `make peers`");
        eprintln!("SKIP: {program} is missing: run `make peers`");
    }
    found
}
