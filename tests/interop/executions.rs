//! Commands with several files, between Taylor's `uux` and us, and between us and its `uuxqt`.

use std::fs;

use super::ours::Ours;
use super::session::{complete, pair, reverse};
use super::taylor::Taylor;

/// Of the hub, which is Taylor's.
const POLICY: &str = "forward-to = [\"far\"]\n[sites.far]\n[news]\ncreate = \"*\"";

fn article(number: u32) -> String {
    let text = format!(
        "Path: hub!ann\nFrom: ann@hub.example\nNewsgroups: local.test\nSubject: {number}\n\
         Date: {}\nMessage-ID: <{number}@hub.example>\n\nHello\n",
        "Fri, 27 Nov 2026 10:00:00 +0000"
    );
    format!("#! rnews {}\n{text}", text.len())
}

/// Writes the two files; gives them as words for `uux`.
fn two_files(taylor: &Taylor, contents: [&str; 2]) -> [String; 2] {
    ["one", "two"].map(|name| {
        let path = taylor.path(name);
        fs::write(&path, contents[usize::from(name == "two")]).expect("a file");
        format!("!{}", path.display())
    })
}

fn call(taylor: &Taylor) {
    assert!(taylor.call("village").status.success(), "{}", taylor.log());
}

fn waiting(village: &Ours) -> usize {
    village.run(&["queue", "list", "--json"], b"").matches("\"file\"").count()
}

fn articles(village: &Ours) -> usize {
    village.run(&["log", "-n", "1000"], b"").matches("accepted article").count()
}

#[test]
fn a_command_with_two_files_of_taylor_is_run_here() {
    for protocol in ["t", "g", "i"] {
        let Some((village, taylor)) = reverse(POLICY, &format!("protocol {protocol}")) else { return };
        let [one, two] = two_files(&taylor, [&article(1), &article(2)]);
        taylor.uux(&["village!rnews", &one, &two], b"");
        taylor.uux(&["village!uucp", &one, &two, "(far!~/)"], b"");
        call(&taylor);
        let log = village.run(&["log", "-n", "1000"], b"");
        assert_eq!((articles(&village), waiting(&village)), (2, 2), "{protocol} {log}");
        assert!(!village.run(&["dead", "list"], b"").contains("hub"));
    }
}

#[test]
fn a_file_of_a_command_of_taylor_may_come_in_a_later_call() {
    let Some((village, taylor)) = reverse(POLICY, "protocol t") else { return };
    let [one, two] = two_files(&taylor, [&article(1), &article(2)]);
    taylor.uux(&["village!uucp", &one, &two, "(far!~/)"], b"");
    let entries = fs::read_dir(taylor.path("spool/village/C.")).expect("a folder");
    let [work]: [_; 1] =
        entries.map(|e| e.expect("an entry").path()).collect::<Vec<_>>().try_into().expect("one command");
    let all = fs::read_to_string(&work).expect("a file");
    let lines: Vec<&str> = all.lines().collect();
    fs::write(&work, format!("{}\n{}\n", lines[0], lines[2])).expect("a file");
    call(&taylor);
    assert_eq!(waiting(&village), 0, "{all}");
    fs::write(&work, format!("{}\n", lines[1])).expect("a file");
    call(&taylor);
    assert_eq!(waiting(&village), 2, "{}", taylor.log());
}

#[test]
fn a_command_with_files_of_ours_is_run_by_taylor() {
    for protocol in ["t", "g", "i"] {
        let Some((village, taylor)) = pair("", &format!("protocol {protocol}")) else { return };
        taylor.allow("rmail rnews gather");
        let out = taylor.path("gathered").display().to_string();
        let script = format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{{ echo \"$@\"; cat \"$2\" \"$1\" -; }} > {out}\n");
        taylor.provide("gather", &script);
        let files = ["one", "two"].map(|name| village.folder.path().join(name));
        files.iter().for_each(|path| fs::write(path, format!("{}\n", path.display())).expect("a file"));
        let [one, two] = files.map(|path| path.display().to_string());
        village.run(&["uux", "-", "hub!gather", &format!("!{one}"), &format!("!{two}"), "(far!bob)"], b"input\n");
        complete(&village);
        taylor.run_arrived();
        let gathered = fs::read_to_string(&out).unwrap_or_default();
        assert_eq!(gathered, format!("one two far!bob\n{two}\n{one}\ninput\n"), "{protocol} {}", taylor.log());
        assert_eq!(waiting(&village), 0);
        // A file that is read goes as standard input does.
        village.run(&["uux", "hub!gather", &format!("!{one}"), &format!("!{two}"), &format!("<!{one}")], b"");
        complete(&village);
        taylor.run_arrived();
        let gathered = fs::read_to_string(&out).unwrap_or_default();
        assert_eq!(gathered, format!("one two\n{two}\n{one}\n{one}\n"), "{protocol} {}", taylor.log());
    }
}
