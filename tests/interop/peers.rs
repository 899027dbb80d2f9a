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
        let line = format!("SKIP: {program} is missing: run `make peers`\n");
        eprint!("{line}");
        // `make test` shows them at its end, where the test runner's own output does not hide them.
        if let Some(list) = std::env::var_os("BANGPATH_SKIPPED") {
            let file = std::fs::OpenOptions::new().append(true).create(true).open(list);
            file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
                .expect("the list of what is skipped");
        }
    }
    found
}
