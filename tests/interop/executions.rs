//! Commands with several files and with output, between Taylor's `uux` and us, and between us and its `uuxqt`.

use std::fs;
use std::path::Path;

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

/// A program that says what it is told and what it finds.
const TELL: &str = "#!/bin/sh\nPATH=/usr/bin:/bin\necho \"ARGS $*\"\n\
                    for name in \"$@\"; do test -f \"$name\" && cat \"$name\"; done\ncat\n";

/// Command lines, with `FROM` for the folder of the files `one` and `two`, and what the program must have said.
const LINES: [(&str, &str); 5] = [
    ("tell !FROM/one (a!b)", "ARGS one a!b\none\n"),
    ("tell !FROM/one !FROM/two !FROM/one", "ARGS one two one\none\ntwo\none\n"),
    ("tell !FROM/two <!FROM/one", "ARGS two\ntwo\none\n"),
    ("tell <!FROM/two", "ARGS \ntwo\n"),
    ("tell word", "ARGS word\n"),
];

fn lines(from: &Path) -> Vec<(String, &'static str)> {
    for name in ["one", "two"] {
        fs::write(from.join(name), format!("{name}\n")).expect("a file");
    }
    LINES.map(|(line, expected)| (line.replace("FROM", &from.display().to_string()), expected)).into()
}

#[test]
fn what_taylor_writes_for_our_commands_comes_back() {
    for protocol in ["t", "i"] {
        let Some((village, taylor)) = pair("", &format!("protocol {protocol}")) else { return };
        taylor.allow("rmail rnews tell");
        taylor.provide("tell", TELL);
        let lines = lines(village.folder.path());
        for (n, (line, _)) in lines.iter().enumerate() {
            village.run(&["uux", &format!("hub!{line} >!~/said{n}")], b"");
        }
        village.run(&["uux", "hub!tell", "there", ">hub!~/kept"], b"");
        complete(&village);
        taylor.run_arrived();
        complete(&village);
        for (n, (line, expected)) in lines.iter().enumerate() {
            let said = fs::read_to_string(village.public().join(format!("said{n}"))).unwrap_or_default();
            assert_eq!(&said, expected, "{protocol} {line}: {}", taylor.log());
        }
        assert_eq!(fs::read_to_string(taylor.path("pub/kept")).unwrap_or_default(), "ARGS there\n", "{}", taylor.log());
    }
}

#[test]
fn what_a_program_of_ours_writes_for_taylor_comes_back() {
    for protocol in ["t", "i"] {
        let Some((village, taylor)) = reverse("", &format!("protocol {protocol}")) else { return };
        taylor.provide("tell", TELL);
        let program = taylor.path("bin/tell").display().to_string();
        village.configure(&format!("[sites.hub]\ncommands = [\"rmail\", {program:?}]\n"));
        let lines = lines(taylor.folder.path());
        let public = taylor.path("pub").display().to_string();
        for (n, (line, _)) in lines.iter().enumerate() {
            taylor.uux(&["-C", &format!("village!{line} >!{public}/said{n}")], b"");
        }
        taylor.uux(&["village!tell", "there", ">village!~/kept"], b"");
        call(&taylor);
        call(&taylor);
        let log = village.run(&["log", "-n", "1000"], b"");
        for (n, (line, expected)) in lines.iter().enumerate() {
            let said = fs::read_to_string(taylor.path(&format!("pub/said{n}"))).unwrap_or_default();
            assert_eq!(&said, expected, "{protocol} {line}: {} {log}", taylor.log());
        }
        assert_eq!(fs::read_to_string(village.public().join("kept")).unwrap_or_default(), "ARGS there\n", "{log}");
        assert!(!village.run(&["dead", "list"], b"").contains("hub"));
    }
}
