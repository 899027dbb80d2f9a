//! The floors: a module uses only floors below its own, and modules on one floor do not use each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module (docs/architecture.md).
const FLOORS: [(&str, u8); 17] = [
    ("base", 0),
    ("dialogue", 1),
    ("wire", 1),
    ("proto", 2),
    ("files", 3),
    ("link", 3),
    ("session", 3),
    ("store", 3),
    ("mail", 4),
    ("news", 4),
    ("sched", 4),
    ("call", 5),
    ("gate", 5),
    ("config", 6),
    ("daemon", 7),
    ("cli", 8),
    ("main", 9),
];

fn floors() -> BTreeMap<&'static str, u8> {
    FLOORS.into()
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Each source file: its module and its lines, tests at its end left out.
fn modules() -> Vec<(PathBuf, String, Vec<String>)> {
    let mut files = Vec::new();
    rust_files(&source(), &mut files);
    files.sort();
    let read = |path: PathBuf| {
        let inner = path.strip_prefix(source()).expect("below src").to_owned();
        let first = inner.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).expect("a readable file");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        (inner, first.trim_end_matches(".rs").to_owned(), code.lines().map(str::to_owned).collect())
    };
    files.into_iter().map(read).filter(|(_, module, _)| module != "lib").collect()
}

/// Modules named behind `crate::` or `bangpath::` in a line of code.
fn uses(line: &str) -> Vec<String> {
    if line.trim_start().starts_with("//") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for mark in ["crate::", "bangpath::"] {
        for (at, _) in line.match_indices(mark) {
            let rest = &line[at + mark.len()..];
            // `use crate::{a, b::c}`: each word at the top of the braces.
            let words = rest.strip_prefix('{').and_then(|r| r.split('}').next()).unwrap_or(rest);
            let tops = if rest.starts_with('{') { words.split(',').collect() } else { vec![words] };
            for top in tops {
                let word: String = top.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                found.push(word);
            }
        }
    }
    found
}

#[test]
fn no_arrow_goes_up_or_sideways() {
    let floors = floors();
    let mut wrong = Vec::new();
    for (path, module, lines) in modules() {
        let own = *floors.get(module.as_str()).unwrap_or_else(|| panic!("{module} has no floor"));
        for (n, line) in lines.iter().enumerate() {
            for used in uses(line).iter().filter(|u| **u != module) {
                match floors.get(used.as_str()) {
                    Some(floor) if *floor < own => {}
                    Some(_) => wrong.push(format!("{}:{}: {module} uses {used}", path.display(), n + 1)),
                    None => {}
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_waits_reads_the_clock_or_starts_tasks_stands_where_it_may() {
    let mut wrong = Vec::new();
    for (path, module, lines) in modules() {
        let file = path.display().to_string();
        for (n, line) in lines.iter().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            let mut forbid = |what: &str, allowed: bool| {
                if line.contains(what) && !allowed {
                    wrong.push(format!("src/{file}:{}: {what}", n + 1));
                }
            };
            forbid("async fn", matches!(module.as_str(), "link" | "call" | "daemon" | "cli"));
            forbid("tokio::spawn", matches!(module.as_str(), "daemon" | "cli"));
            forbid("Timestamp::now", false);
            forbid("SystemTime::now", file == "daemon/clock.rs");
            forbid("std::time::Instant::now", file == "daemon/clock.rs" || module == "cli");
            forbid("rusqlite", module == "store");
            forbid(
                "Command::new",
                matches!(file.as_str(), "link/pipe.rs" | "link/program.rs" | "link/execution.rs") || module == "cli",
            );
            forbid("/bin/sh", false);
            forbid("todo!(", false);
            forbid("unimplemented!(", false);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_arrows_of_this_test_are_seen() {
    assert_eq!(uses("use crate::store::{Store, View};"), ["store"]);
    assert_eq!(uses("use crate::{link, mail::Policy};"), ["link", "mail"]);
    assert_eq!(uses("    let x = crate::call::describe(&r);"), ["call"]);
    assert!(uses("// crate::store is below").is_empty());
}

#[test]
fn files_begin_with_what_they_are_for_and_stay_readable() {
    for (path, _, lines) in modules() {
        assert!(lines.first().is_some_and(|l| l.starts_with("//! ")), "{}", path.display());
        assert!(lines.len() <= 900, "{} has {} lines: find the second file in it", path.display(), lines.len());
    }
}
