//! Commands that come with several files: when they are run, and what becomes of them where a file or a name is missing.

use std::time::Duration;

use bangpath::base::names::SiteName;
use bangpath::base::time::Timestamp;
use bangpath::store::inbound::{Announced, Purpose};

use crate::site::{BANGPATH, Site, said};

/// Passes files on from the village to the far site.
pub const HUB: &str = "[sites.village]\nforward-to = [\"far\"]\n[sites.far]\n[news]\ncreate = \"*\"\n";

/// A spool file of the village, which came so many hours ago.
pub fn give(hub: &Site, name: &str, bytes: &str, hours: u64) {
    let at: Timestamp = bangpath::daemon::now().wall - Duration::from_secs(hours * 3600);
    let site = SiteName::parse("village").expect("a name");
    let file = Announced { site, temp: None, size: None, to: name.to_owned() };
    let mut receiving = hub.store().receive(&file, false, at).expect("room");
    receiving.write(0, bytes.as_bytes()).expect("room");
    receiving.commit(Purpose::Spool { name: name.to_owned() }, at).expect("room");
}

/// A call that comes to nothing, at whose end what has come is unpacked.
fn unpack(hub: &Site) {
    hub.try_run(&["uucico"], b"", None);
}

pub fn article(number: u32) -> String {
    let text = format!(
        "Path: village!ann\nFrom: ann@village.example\nNewsgroups: local.test\nSubject: {number}\n\
         Date: Fri, 27 Nov 2026 10:00:00 +0000\nMessage-ID: <{number}@village.example>\n\nHello\n"
    );
    format!("#! rnews {}\n{text}", text.len())
}

const RNEWS: &str = "F D.villageN0001 one\nF D.villageN0002 two\nU ann village\nC rnews one two\n";

#[test]
fn a_command_is_run_once_when_all_its_files_are_here_in_whatever_order_they_come() {
    let parts = [("X.villageN0003", RNEWS.to_owned()), ("D.villageN0001", article(1)), ("D.villageN0002", article(2))];
    for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0]] {
        let hub = Site::new("hub", HUB);
        for (came, part) in order.into_iter().enumerate() {
            assert_eq!(hub.articles().len(), 0, "{order:?}: {came} of three are here");
            give(&hub, parts[part].0, &parts[part].1, 0);
            unpack(&hub);
        }
        assert_eq!(hub.articles().len(), 2, "{order:?}");
        assert!(hub.is_unpacked() && hub.dead().is_empty(), "{order:?}");
    }
}

#[test]
fn a_command_has_its_files_under_the_names_that_it_gives_them_and_its_input_beside_them() {
    let hub = Site::new("hub", HUB);
    for (name, text) in [("D.1", "first"), ("D.2", "second"), ("D.3", "input")] {
        give(&hub, name, text, 0);
    }
    give(&hub, "X.4", "F D.2 one\nF D.1 two\nF D.3\nI D.3\nU ann village\nC uucp -C two one far!~/\n", 0);
    unpack(&hub);
    let queue = hub.run(&["queue", "list", "--json"], b"");
    assert!(hub.is_unpacked() && hub.queued() == 2, "{queue}");
    let shown: String = (1..=2).map(|item| hub.run(&["queue", "show", &item.to_string()], b"")).collect();
    let (two, one) = (shown.find("first"), shown.find("second"));
    assert!(two.is_some() && two < one && !shown.contains("input"), "{shown}");
}

#[test]
fn a_letter_is_what_the_command_reads_and_not_a_file_beside_it() {
    let hub = Site::new("hub", HUB);
    for (name, text) in [("D.1", "not this\n"), ("D.2", "From ann remote from village\nSubject: this\n\nHello\n")] {
        give(&hub, name, text, 0);
    }
    give(&hub, "X.3", "F D.1 one\nF D.2\nI D.2\nU ann village\nC rmail bob\n", 0);
    unpack(&hub);
    let mail = hub.mail("bob");
    assert!(mail.len() == 1 && mail[0].contains("Subject: this") && !mail[0].contains("not this"), "{mail:?}");
    assert!(hub.is_unpacked() && hub.dead().is_empty());
}

/// What is said of an execution file that can never be run; its data is kept with it, and its sender told.
fn check_buried(execution: &str, expected: &str) {
    let hub = Site::new("hub", HUB);
    for number in [1, 2] {
        give(&hub, &format!("D.{number}"), &article(number), 0);
    }
    give(&hub, "X.3", &format!("{execution}U ann village\n"), 0);
    unpack(&hub);
    let dead: Vec<String> = hub.dead().into_iter().map(|letter| letter.why).collect();
    assert_eq!(dead.len(), 3, "{execution}: {dead:?}");
    assert!(dead[0].contains(expected), "{execution}: {}", dead[0]);
    assert!(hub.is_unpacked() && hub.articles().is_empty(), "{execution}");
    assert!(hub.waiting_mail().iter().any(|(_, text)| text.contains(expected)), "{execution}: its sender is told");
}

#[test]
fn names_that_are_places_are_refused_with_a_clear_word() {
    for (name, shown) in [("../one", "../one"), ("..", ".."), ("/etc/one", "/etc/one"), ("a/b", "a/b"), (".", ".")] {
        let expected = format!("is to be called `{shown}`, which is no plain name");
        check_buried(&format!("F D.1 one\nF D.2 {name}\nC rnews one {name}\n"), &expected);
    }
    let of_ours = "`/etc/passwd`, which is no file that came with it";
    let to_read = "`/etc/passwd` to read, which is no file that came with it";
    let (long, expected) = ("n".repeat(256), format!("is to be called `{}`, which is no plain name", "n".repeat(60)));
    check_buried(&format!("F D.1 one\nF D.2 {long}\nC rnews one\n"), &expected);
    check_buried("F D.1 one\nF D.2 two\nF /etc/passwd three\nC rnews one two\n", of_ours);
    check_buried("F D.1 one\nF D.2 two\nI /etc/passwd\nC rnews\n", to_read);
    check_buried("F D.1 one\nF D.2 two\nI X.9\nC rnews\n", "`X.9` to read, which is no file");
    check_buried("F D.1 one\nF D.2 one\nC rnews one\n", "two files of the command are to be called `one`");
    check_buried("F D.1 one\nF D.2 two\nC rmail bob\n", "nothing came for the command to read");
}

/// As Taylor's `uux` does with a file that is named twice.
#[test]
fn a_file_that_comes_twice_is_one() {
    let hub = Site::new("hub", HUB);
    for name in ["D.1", "D.2"] {
        give(&hub, name, &article(1), 0);
    }
    give(&hub, "X.3", "F D.1 one\nF D.2 one\nU ann village\nC rnews one one\n", 0);
    unpack(&hub);
    assert_eq!((hub.articles().len(), hub.dead().len()), (1, 0));
    assert!(hub.is_unpacked());
}

#[test]
fn a_command_that_the_site_may_not_run_takes_its_files_along() {
    let hub = Site::new("hub", HUB);
    for name in ["D.1", "D.2"] {
        give(&hub, name, "x", 0);
    }
    give(&hub, "X.3", "F D.1 one\nF D.2 two\nU ann village\nC sh one two\n", 0);
    unpack(&hub);
    assert!(hub.is_unpacked() && hub.dead().is_empty());
    assert!(hub.run(&["log"], b"").contains("refused command village"));
}

/// Which articles are here after batches of these came for one command, and what is kept in the dead letters.
fn check_batches(batches: &[&str], here: usize, kept: &[&str]) -> Site {
    let hub = Site::new("hub", HUB);
    let mut names = String::new();
    let mut execution = String::new();
    for (number, batch) in batches.iter().enumerate() {
        give(&hub, &format!("D.{number}"), batch, 0);
        execution += &format!("F D.{number} f{number}\n");
        names += &format!(" f{number}");
    }
    give(&hub, "X.9", &format!("{execution}U ann village\nC rnews{names}\n"), 0);
    unpack(&hub);
    let dead: Vec<(String, String)> = hub.dead().into_iter().map(|letter| (letter.what, letter.why)).collect();
    assert_eq!((hub.articles().len(), dead.len()), (here, kept.len()), "{batches:?}: {dead:?}");
    for ((what, why), expected) in dead.iter().zip(kept) {
        assert_eq!(what, "rnews (for ann)");
        assert!(why.contains(expected), "{batches:?}: {why}");
        assert!(hub.waiting_mail().iter().any(|(_, text)| text.contains(expected)), "its sender is told");
    }
    assert!(hub.is_unpacked(), "{batches:?}");
    hub
}

#[test]
fn what_can_be_read_of_several_batches_is_filed_and_those_that_are_damaged_are_kept() {
    let (one, two) = (article(1), article(2));
    let (unknown, cut) = ("#! zunbatch\nabc", article(3) + "#! rnews 999\nPath: x\n");
    let (no_head, too_early) = ("batches of the form `zunbatch` are not known", "the batch ends ");
    check_batches(&[&one, &two], 2, &[]);
    check_batches(&[&one, unknown, &two], 2, &[no_head]);
    check_batches(&[&one, &two, unknown], 2, &[no_head]);
    check_batches(&[&cut, &one, unknown, &two], 3, &[too_early, no_head]);
    check_batches(&[unknown, unknown], 0, &[no_head, no_head]);
    let hub = check_batches(&[unknown, &one, &cut], 2, &[no_head, too_early]);
    // Bytes and all; and tried again it is read by itself.
    let letters = hub.dead();
    let number = letters[0].number.to_string();
    assert_eq!(hub.run(&["dead", "show", "--all", &number], b""), unknown);
    hub.run(&["dead", "retry", &number], b"");
    unpack(&hub);
    assert!(hub.is_unpacked() && hub.dead().iter().any(|letter| letter.why.contains(no_head)));
    assert_eq!((hub.dead().len(), hub.articles().len()), (2, 2));
}

const WEEK: u64 = 7 * 24;

#[test]
fn what_came_waits_as_long_as_its_command_and_is_buried_with_it() {
    let hub = Site::new("hub", HUB);
    // The file that came alone has waited for more than a week, its command for less.
    give(&hub, "D.villageN0001", &article(1), WEEK + 12);
    give(&hub, "X.villageN0003", RNEWS, WEEK - 12);
    unpack(&hub);
    assert!(!hub.is_unpacked() && hub.dead().is_empty());
    give(&hub, "D.villageN0002", &article(2), 0);
    unpack(&hub);
    assert_eq!((hub.articles().len(), hub.is_unpacked()), (2, true));

    let hub = Site::new("hub", HUB);
    give(&hub, "D.villageN0001", &article(1), WEEK + 12);
    give(&hub, "X.villageN0003", RNEWS, WEEK + 1);
    unpack(&hub);
    let dead: Vec<(String, String)> = hub.dead().into_iter().map(|letter| (letter.what, letter.why)).collect();
    let why = "`D.villageN0002` never came, which the command needs";
    let expected = [
        ("spool file X.villageN0003".to_owned(), why.to_owned()),
        ("spool file D.villageN0001".to_owned(), format!("came for a command that was not run: {why}")),
    ];
    assert_eq!(dead, expected);
    assert!(hub.is_unpacked());
    // Who knows better has them tried again together.
    let number = hub.dead()[1].number.to_string();
    hub.run(&["dead", "retry", &number], b"");
    assert!(hub.dead().is_empty());
    give(&hub, "D.villageN0002", &article(2), 0);
    unpack(&hub);
    assert_eq!((hub.articles().len(), hub.is_unpacked()), (2, true));
}

#[test]
fn data_without_a_command_is_buried_in_the_end() {
    let hub = Site::new("hub", HUB);
    give(&hub, "D.villageN0001", "x", WEEK + 25);
    unpack(&hub);
    assert_eq!(hub.dead()[0].why, "its execution file never came");
}

#[test]
fn what_uux_sends_with_its_files_is_run_by_one_of_us() {
    let (hub, village) = asked(HUB, "");
    assert_eq!(village.queued(), 3);
    village.run(&["call", "hub"], b"");
    assert_eq!((hub.articles().len(), village.queued()), (2, 0));
    assert!(hub.is_unpacked() && hub.dead().is_empty());
}

/// How the village calls the hub, and what more it has of it.
fn calling(hub: &Site, more: &str) -> String {
    let config = hub.config().display().to_string();
    format!(
        "[port.p]\ntype = \"pipe\"\ncommand = [\"{BANGPATH}\", \"uucico\", \"-I\", \"{config}\", \"-u\", \"village\"]\n\
         [sites.hub]\ncall = [{{ port = \"p\" }}]\n{more}\n"
    )
}

/// The village has asked the hub for `rnews one two`, of which the second is long; the items are 1, 2 and 3.
fn asked(hub: &str, more: &str) -> (Site, Site) {
    let hub = Site::new("hub", hub);
    let village = Site::new("village", &calling(&hub, more));
    let words = [1, 2].map(|number| {
        let path = village.path(["one", "two"][number as usize - 1]);
        let padding = "#! rnews 0\n".repeat(if number == 2 { 500 } else { 0 });
        std::fs::write(&path, article(number) + &padding).expect("a file");
        format!("!{}", path.display())
    });
    let [one, two] = &words;
    village.run(&["uux", "-a", "bob", "hub!rnews", one, two], b"");
    (hub, village)
}

fn why_dead(site: &Site) -> Vec<String> {
    site.dead().into_iter().map(|letter| letter.why).collect()
}

#[test]
fn a_command_of_which_a_file_is_refused_for_good_stays_here_and_is_tried_again_as_a_whole() {
    let limited = HUB.replace("[sites.village]\n", "[sites.village]\nreceive-limits = [{ size = \"2K\" }]\n");
    for (hub, more, why) in [
        (limited.as_str(), "protocols = \"t\"", "site hub too large"),
        (&limited, "protocols = \"i\"", "site hub too large"),
        (HUB, "send-limits = [{ size = \"2K\" }]", "site hub is never sent so much (send-limits)"),
    ] {
        let (hub, village) = asked(hub, more);
        village.run(&["call", "hub"], b"");
        let dead = why_dead(&village);
        assert_eq!((village.queued(), dead.len()), (0, 2), "{more}: {dead:?}");
        assert!(dead[0] == why && dead[1].contains("goes with D.village"), "{more}: {dead:?}");
        let mail = village.mail("bob");
        assert!(mail.len() == 1 && mail[0].contains("\n    rnews one two\n"), "{more}: {mail:?}");
        assert!(mail[0].contains("/two, without which the command is of no use)"), "{more}: {mail:?}");
        assert!(village.run(&["log"], b"").contains(" buried file hub X.village"), "{more}");
        // The first file was there already, and waits for the others.
        assert!(hub.articles().is_empty() && !hub.is_unpacked(), "{more}");
        hub.configure(HUB);
        village.configure(&calling(&hub, ""));
        let number = village.dead()[1].number.to_string();
        village.run(&["dead", "retry", &number], b"");
        assert_eq!((village.queued(), village.dead().len()), (2, 0), "{more}");
        village.run(&["call", "hub"], b"");
        assert_eq!((village.queued(), hub.articles().len(), hub.is_unpacked()), (0, 2, true), "{more}");
    }
}

#[test]
fn nobody_is_told_of_a_refused_file_of_a_command_that_asked_for_no_word() {
    let limited = HUB.replace("[sites.village]\n", "[sites.village]\nreceive-limits = [{ size = \"100\" }]\n");
    let hub = Site::new("hub", &limited);
    let village = Site::new("village", &calling(&hub, "protocols = \"t\""));
    let path = village.path("one");
    std::fs::write(&path, article(1)).expect("a file");
    village.run(&["uux", "-n", "-a", "bob", "hub!rnews", &format!("!{}", path.display())], b"");
    village.run(&["call", "hub"], b"");
    assert_eq!((village.queued(), village.dead().len(), village.mail("bob").len()), (0, 2, 0));
    assert!(hub.is_unpacked());
}

#[test]
fn a_command_of_which_a_file_is_dropped_is_dropped_as_a_whole() {
    for item in ["1", "3"] {
        let (_hub, village) = asked(HUB, "");
        let said = village.run(&["queue", "drop", item], b"");
        let others = if item == "1" { "2, 3" } else { "1, 2" };
        assert_eq!(said, format!("dropped with what was left of its command: item {others}\n"));
        assert_eq!((village.queued(), village.dead().len()), (0, 0));
        assert_eq!(village.run(&["log"], b"").matches(" dropped file uucp:hub ").count(), 3);
    }
    // What is in the dead letters, too; and nothing of another command.
    let (hub, village) = asked(HUB, "send-limits = [{ size = \"100\" }]");
    let other = village.path("other");
    std::fs::write(&other, article(3)).expect("a file");
    village.run(&["uux", "hub!rnews", &format!("!{}", other.display())], b"");
    village.run(&["call", "hub"], b"");
    assert_eq!((village.queued(), village.dead().len()), (0, 5), "{:?}", why_dead(&village));
    assert_eq!(village.run(&["dead", "drop", "2"], b""), "dropped with 2 other letters of its command\n");
    assert_eq!((village.dead().len(), hub.is_unpacked()), (2, true));
}

#[test]
fn an_execution_file_goes_when_its_data_is_there() {
    let (hub, village) = asked(HUB, "");
    let listed = village.run(&["queue", "list"], b"");
    assert_eq!(listed.matches("held: until the files of its command are there").count(), 1, "{listed}");
    village.run(&["queue", "hold", "2"], b"");
    // By hand it goes no earlier.
    village.run(&["queue", "release", "3"], b"");
    village.run(&["call", "hub"], b"");
    assert_eq!((village.queued(), hub.articles().len()), (2, 0));
    village.run(&["queue", "release", "2"], b"");
    village.run(&["call", "hub"], b"");
    assert_eq!((village.queued(), hub.articles().len(), hub.is_unpacked()), (0, 2, true));
}

#[test]
fn uux_says_what_it_cannot_send() {
    let village = Site::new("village", "[sites.hub]\n[sites.far]\n");
    std::fs::create_dir(village.path("other")).expect("a folder");
    let path = |name: &str| {
        std::fs::write(village.path(name), "x").expect("a file");
        format!("!{}", village.path(name).display())
    };
    let (one, other) = (path("one"), path("other/one"));
    for (words, expected) in [
        (&["far!~/x"][..], "`far!~/x` lies at another site: fetch it first"),
        (&["nowhere!x"], "`nowhere!x` lies at another site"),
        (&[&one, &other], "would have one name there: rename one"),
        (&["!/nonexistent/file"], "cannot read /nonexistent/file"),
        (&[">out"], "write `>!~/file` for a file of this site"),
        (&[">!out"], "what comes back lies in the public directory"),
        (&[">!~/../out"], "what comes back lies in the public directory"),
        (&[">>!~/out"], "`>>!~/out`: this is no name of a file"),
        (&[">hub!a\u{1}b"], "this is no name of a file"),
        (&[">!~/a", ">!~/b"], "two outputs"),
        (&["x|y"], "no shell runs the command"),
        (&["<one"], "a file of this site is to be read: write `<!one`"),
        (&["!a/.."], "a name holds a blank or a special character"),
        (&["-", "<", &one], "two inputs"),
    ] {
        let words = [&["uux", "hub!lp"], words].concat();
        let output = village.try_run(&words, b"", None);
        assert!(!output.status.success() && said(&output).contains(expected), "{words:?}: {}", said(&output));
    }
    assert_eq!(village.queued(), 0);
    // What is at the site already is named there, and what is in parentheses is no file.
    village.run(&["uux", "hub!lp", "hub!~/x", "(far!bob)"], b"");
    assert!(village.run(&["queue", "list"], b"").contains("lp ~/x far!bob"));
}

/// A site that may have this script run as `tell`, and has asked for it with these words.
fn scripted(script: &str, words: &str) -> Site {
    let hub = Site::new("hub", "");
    let program = hub.path("tell");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a file");
    hub.configure(&format!("[sites.village]\ncommands = [\"rmail\", {:?}]\n", program.display().to_string()));
    std::fs::create_dir_all(hub.path("spool/public")).expect("a folder");
    std::fs::write(hub.path("spool/public/notes"), "notes\n").expect("a file");
    give(&hub, "X.villageN0001", &format!("U ann village\nO ~/said\nC tell {words}\n"), 0);
    hub
}

fn said_by(hub: &Site) -> Option<String> {
    std::fs::read_to_string(hub.path("spool/public/said")).ok()
}

#[test]
fn a_program_finds_its_own_folder_and_nothing_of_us() {
    let hub = scripted("env | sort; ls -A; cat \"$1\"", "~/notes");
    unpack(&hub);
    let said = said_by(&hub).unwrap_or_default();
    let variables: Vec<&str> = said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    // The shell adds its own.
    let expected = ["HOME", "PATH", "PWD", "UU_MACHINE", "UU_USER"];
    assert!(
        variables.iter().all(|name| expected.contains(name) || *name == "OLDPWD" || *name == "_" || *name == "SHLVL"),
        "{said}"
    );
    assert!(
        said.contains("UU_MACHINE=village\n") && said.contains("UU_USER=ann\n") && said.ends_with("\nnotes\n"),
        "{said}"
    );
    assert!(!hub.path("spool/running").exists() && hub.is_unpacked() && hub.dead().is_empty());
}

#[test]
fn a_program_gets_no_file_that_is_not_for_others() {
    for words in ["/etc/passwd", "../x", "~root/x", "-o/etc/passwd", "~/none", "x/y"] {
        let hub = scripted("echo \"$*\"", words);
        unpack(&hub);
        assert_eq!(said_by(&hub), None, "{words}");
        assert!(hub.run(&["log"], b"").contains("refused command village"), "{words}");
    }
}

#[test]
fn a_program_that_fails_leaves_what_came_with_its_words_and_may_ask_for_later() {
    let check = |script: &str, dead: &[&str], waiting: bool| {
        let hub = scripted(script, "x");
        unpack(&hub);
        let why: Vec<String> = hub.dead().into_iter().map(|letter| letter.why).collect();
        assert_eq!(why.len(), dead.len(), "{script}: {why:?}");
        assert!(why.iter().zip(dead).all(|(why, part)| why.contains(part)), "{script}: {why:?}");
        assert_eq!((hub.is_unpacked(), said_by(&hub)), (!waiting, None), "{script}");
        hub
    };
    let hub = check("echo no paper >&2; exit 1", &["ended with exit status: 1: no paper"], false);
    assert_eq!(hub.queued(), 1, "who asked is told");
    check("echo no paper >&2; exit 75", &[], true);
}

/// Whether it has done its work nobody knows, so a person decides.
#[test]
fn a_program_in_whose_midst_the_machine_went_down_is_not_run_again_by_itself() {
    let hub = scripted("echo run >> ../../../runs; kill -9 $PPID", "x");
    unpack(&hub);
    unpack(&hub);
    assert_eq!(std::fs::read_to_string(hub.path("runs")).expect("it ran"), "run\n");
    let dead = hub.dead();
    assert!(dead.len() == 1 && dead[0].why.contains("nobody knows whether it is done"), "{dead:?}");
    hub.run(&["dead", "retry", "1"], b"");
    unpack(&hub);
    assert_eq!(std::fs::read_to_string(hub.path("runs")).expect("it ran"), "run\nrun\n");
}

#[test]
fn what_a_program_leaves_running_ends_with_it() {
    let hub = scripted("sleep 600 & echo $!", "x");
    unpack(&hub);
    let left = said_by(&hub).expect("it is done");
    // A dead child of nobody may stay a zombie where nobody waits for it.
    let state = std::fs::read_to_string(format!("/proc/{}/stat", left.trim())).unwrap_or_else(|_| "gone Z".to_owned());
    assert!(state.contains(" Z"), "{state}");
}

/// The same as [`unpack`]; tests that are run by root are here nobody's.
fn unpack_as_nobody(hub: &Site) {
    if !nix::unistd::geteuid().is_root() {
        return unpack(hub);
    }
    // Where it is built may be a place for root alone.
    let program = hub.path("bangpath");
    std::fs::copy(BANGPATH, &program).expect("a file");
    let shell =
        "chown -R 65534:65534 \"$0\"; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0/bangpath\" uucico";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", shell]).arg(hub.folder()).env("BANGPATH_CONFIG", hub.config());
    command.stdin(std::process::Stdio::null()).output().expect("it runs");
}

/// Scripts write to `/dev/stderr`, which opens it once more. Root runs them as whom the spool belongs to.
#[test]
fn a_program_may_open_its_input_and_output_by_their_names() {
    let hub = scripted("cat /dev/stdin > /dev/stdout; id -u > /dev/stderr", "x");
    if nix::unistd::geteuid().is_root() {
        for path in [hub.folder(), &hub.spool(), &hub.path("spool/public")] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("a folder");
        }
    }
    unpack(&hub);
    assert_eq!((said_by(&hub).as_deref(), hub.dead().len()), (Some(""), 0));
}

/// As an archive may hold them: who is not root can neither look into them nor remove them.
#[test]
fn folders_that_a_program_has_locked_keep_no_other_from_being_run() {
    let hub = scripted("mkdir -p a/b; touch a/b/c; echo locked; chmod 000 a/b a .. .", "x");
    unpack_as_nobody(&hub);
    assert_eq!(said_by(&hub).as_deref(), Some("locked\n"));
    assert!(hub.is_unpacked() && !hub.path("spool/running").exists());
}

/// Folders in folders, more than there may be open files: what cannot be removed is out of the way.
#[test]
fn what_a_program_has_left_and_cannot_be_removed_keeps_no_other_from_being_run() {
    let hub = scripted("i=0; while test $i -lt 1000; do mkdir d; cd d; i=$((i + 1)); done; echo deep", "x");
    for number in 2..=3 {
        started_by(&hub, &["sh", "-c", "ulimit -n 300; exec \"$@\"", "sh"]);
        assert_eq!(said_by(&hub).as_deref(), Some("deep\n"));
        std::fs::remove_file(hub.path("spool/public/said")).expect("a file");
        give(&hub, &format!("X.villageN000{number}"), "U ann village\nO ~/said\nC tell y\n", 0);
    }
}

/// Unpacks, as [`unpack`] does, in circumstances that these words make.
fn started_by(hub: &Site, words: &[&str]) {
    let mut command = std::process::Command::new(words[0]);
    command.args(&words[1..]).args([BANGPATH, "uucico"]).env("BANGPATH_CONFIG", hub.config());
    command.stdin(std::process::Stdio::null()).output().expect("it runs");
}

/// Its files are the site's, and would be read as settings of programs that it calls.
#[test]
fn files_of_a_site_are_not_in_the_home_of_its_program() {
    let hub = scripted("ls -A \"$HOME\" .; test -w \"$HOME\"", "x");
    give(&hub, "D.1", "output = /etc/passwd\n", 0);
    give(&hub, "X.villageN0001", "F D.1 .curlrc\nU ann village\nO ~/said\nC tell\n", 0);
    unpack(&hub);
    let said = said_by(&hub).unwrap_or_default();
    assert!(said.starts_with(".:\n.curlrc\n\n/") && said.ends_with("/home:\n"), "{said}");
}

/// As some that start programs for the network do.
#[test]
fn who_ignores_the_end_of_its_children_may_start_us_all_the_same() {
    let hub = scripted("true & wait $!; echo $?", "x");
    started_by(&hub, &["env", "--ignore-signal=CHLD"]);
    assert_eq!((said_by(&hub).as_deref(), hub.dead().len()), (Some("0\n"), 0));
}
