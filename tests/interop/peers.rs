//! Where the peers are, how they are run from there, and what is done when one is missing.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `make peers` unpacks them.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

/// A program of a peer: below `target/peers`, or installed. `None` where it is missing: then the test ends.
pub fn find(program: &str) -> Option<PathBuf> {
    let found = [folder().join(program), Path::new("/").join(program)].into_iter().find(|p| p.exists());
    if found.is_none() {
        skip(&format!("what needs {program}, which is missing: run `make peers`"));
    }
    found
}

/// The same, ready to be run with the libraries that were unpacked beside it.
pub fn command(program: &str) -> Option<Command> {
    let mut command = Command::new(find(program)?);
    command.env("LD_LIBRARY_PATH", libraries());
    Some(command)
}

/// The folders of libraries of the unpacked packages.
pub fn libraries() -> OsString {
    let top = folder().join("usr/lib");
    let entries = fs::read_dir(&top).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_the_machine = entries.filter(|p| p.to_string_lossy().contains("-linux-"));
    let of_the_machine = of_the_machine.flat_map(|p| [p.join("systemd"), p]);
    std::env::join_paths(of_the_machine.chain(["postfix", "news"].map(|n| top.join(n)))).expect("no colon in the path")
}

/// Names what cannot be tested here and why, for the end of `make test`. In CI it is a failure.
pub fn skip(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "not skipped in CI: {what}");
    eprintln!("SKIP: {what}");
    if let Some(list) = std::env::var_os("BANGPATH_SKIPPED") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).expect("the list of what is skipped");
        list.write_all(format!("{what}\n").as_bytes()).expect("the list of what is skipped");
    }
}
