//! What users ask for beside a copy or a command itself, between two sites of ours: folders, mail about it, sizes.

use std::fs;

use crate::site::{BANGPATH, Site, said};

/// The village calls the hub.
fn pair(hub: &str, village: &str) -> (Site, Site) {
    let hub = Site::new("hub", hub);
    let config = hub.config().display().to_string();
    let port = format!(
        "[port.p]\ntype = \"pipe\"\ncommand = [\"{BANGPATH}\", \"uucico\", \"-I\", \"{config}\", \"-u\", \"village\"]\n\
         [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n[sites.hub]\ncall = [{{ port = \"p\" }}]\n{village}\n"
    );
    let village = Site::new("village", &port);
    for site in [&hub, &village] {
        fs::create_dir_all(site.spool().join("public")).expect("a folder");
    }
    fs::write(village.path("letter"), "hello").expect("a file");
    fs::write(hub.spool().join("public/wanted"), "wanted").expect("a file");
    (hub, village)
}

/// Runs a classic command there; the name of the local file stands for `letter`.
fn ask(village: &Site, words: &[&str]) {
    let letter = village.path("letter").display().to_string();
    let words: Vec<&str> = words.iter().map(|word| if *word == "letter" { letter.as_str() } else { word }).collect();
    village.run(&words, b"");
}

fn call(village: &Site) {
    village.run(&["call", "hub"], b"");
}

/// The subjects of a user's mail.
fn subjects(site: &Site, user: &str) -> Vec<String> {
    let subject = |text: &String| text.lines().find_map(|line| line.strip_prefix("Subject: ")).map(str::to_owned);
    site.mail(user).iter().filter_map(subject).collect()
}

#[test]
fn a_copy_makes_folders_unless_it_is_told_not_to() {
    for (option, place, comes) in
        [("-d", "made/x", true), ("-C", "made/x", true), ("-f", "made/x", false), ("-f", "there/x", true)]
    {
        let (hub, village) = pair("[sites.village]\n", "");
        for site in [&hub, &village] {
            fs::create_dir(site.spool().join("public/there")).expect("a folder");
        }
        ask(&village, &["uucp", option, "letter", &format!("hub!~/{place}")]);
        ask(&village, &["uucp", option, "hub!~/wanted", &format!("~/{place}")]);
        call(&village);
        for site in [&hub, &village] {
            assert_eq!(site.spool().join("public").join(place).exists(), comes, "{option} {place}");
            assert!(comes || !site.spool().join("public/made").exists());
        }
        // What has no place now has none later either: it does not wait, but is kept.
        assert_eq!((village.queued(), village.dead().len()), (0, if comes { 0 } else { 2 }), "{option} {place}");
    }
}

#[test]
fn files_that_are_chosen_elsewhere_come_only_into_folders_that_are_there_if_so_asked() {
    let (_hub, village) = pair("[sites.village]\n", "");
    ask(&village, &["uucp", "-f", "hub!~/w*", "~/made/"]);
    call(&village);
    assert!(!village.spool().join("public/made").exists());
    ask(&village, &["uucp", "hub!~/w*", "~/made/"]);
    call(&village);
    assert!(village.spool().join("public/made/wanted").exists());
}

#[test]
fn a_user_at_the_site_is_told_of_a_file_and_nobody_else_is() {
    for (user, told) in [
        ("bob", true),
        ("Bob", true),
        ("nobody-known", false),
        ("bob@far.example", false),
        ("far!bob", false),
        ("bob%far.example", false),
    ] {
        let (hub, village) = pair("[sites.village]\n[sites.far]\n", "");
        ask(&village, &["uucp", "-n", user, "letter", "hub!~/for-bob"]);
        call(&village);
        assert!(hub.spool().join("public/for-bob").exists());
        let mail = hub.mail("bob");
        assert_eq!(mail.len(), usize::from(told), "{user}");
        if let Some(text) = mail.first() {
            assert!(text.contains("at site village:") && text.contains("public/for-bob\n"), "{text}");
            assert!(
                text.contains("Subject: File from village: for-bob\n") && text.contains("Auto-Submitted:"),
                "{text}"
            );
        }
        assert_eq!((hub.queued(), hub.dead().len()), (0, 0), "{user}");
    }
}

#[test]
fn who_is_to_be_told_must_be_a_name() {
    let (_hub, village) = pair("[sites.village]\n", "");
    for user in ["", "a b", "a;b", "-x"] {
        let output = village.try_run(&["uucp", "-n", user, "letter", "hub!~/"], b"", None);
        assert_eq!(output.status.code(), Some(64), "{}", said(&output));
    }
}

#[test]
fn wishes_travel_with_a_file_that_is_sent_on() {
    let (hub, village) = pair("[sites.village]\nforward-to = [\"far\"]\n[sites.far]\n", "");
    ask(&village, &["uucp", "-f", "-m", "-nbob", "letter", "hub!far!~/x"]);
    call(&village);
    assert_eq!(hub.queued(), 1);
    let listed = hub.run(&["queue", "show", "1"], b"");
    assert!(listed.contains("> ~/x"), "{listed}");
    // And further on, in the command that carries it.
    ask(&village, &["uucp", "-f", "-m", "-nbob", "letter", "hub!far!further!~/x"]);
    call(&village);
    let listed = hub.run(&["queue", "list"], b"");
    assert!(listed.contains("uucp -C -f -g N -m -n bob letter further!~/x"), "{listed}");
}

#[test]
fn who_asks_for_a_copy_is_told_when_it_is_done_if_so_wished() {
    let (_hub, village) = pair("[sites.village]\n", "");
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("a user").expect("a user").name;
    village.add_user(&user, None);
    ask(&village, &["uucp", "letter", "hub!~/quiet"]);
    ask(&village, &["uucp", "-m", "letter", "hub!~/sent"]);
    ask(&village, &["uucp", "-m", "hub!~/wanted", "~/got"]);
    assert_eq!(subjects(&village, &user), [""; 0]);
    call(&village);
    assert_eq!(subjects(&village, &user), ["Copied: letter", "Copied: wanted"]);
    assert!(village.mail(&user)[0].contains("hub!~/sent\n"));
}

#[test]
fn who_has_files_chosen_elsewhere_is_told_of_each_if_so_wished() {
    let (hub, village) = pair("[sites.village]\n", "");
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).expect("a user").expect("a user").name;
    village.add_user(&user, None);
    fs::write(hub.spool().join("public/wanted2"), "wanted").expect("a file");
    ask(&village, &["uucp", "-m", "hub!~/w*", "~/made/"]);
    for _ in 0..2 {
        call(&village);
    }
    assert_eq!(subjects(&village, &user), ["Copied: wanted", "Copied: wanted2"]);
}

#[test]
fn who_asked_for_a_command_that_is_refused_is_told_as_they_wished() {
    for (options, told) in
        [(&[][..], true), (&["-z"], true), (&["-n"], false), (&["-z", "-n"], false), (&["-zn"], false)]
    {
        let (_hub, village) = pair("[sites.village]\n", "");
        ask(&village, &[&["uux", "-a", "bob"], options, &["-", "hub!reboot", "now"]].concat());
        call(&village);
        let expected: &[&str] = if told { &["Refused by hub"] } else { &[] };
        assert_eq!(subjects(&village, "bob"), expected, "{options:?}");
        // It is kept for the operator either way.
        assert_eq!((village.queued(), village.dead().len()), (0, 1), "{options:?}");
    }
}

#[test]
fn who_is_told_of_a_command_is_here_or_at_the_site_or_the_site_may_relay() {
    for (relay, requestor, told) in [
        (false, "bob", true),
        (false, "bob@village.example", true),
        (false, "alice@hub.example", true),
        (false, "victim@world.example", false),
        (false, "far!victim", false),
        (true, "victim@world.example", true),
    ] {
        let routes = "[sites.far]\n[[mail.route]]\nto = \"village.example\"\nvia = \"uucp:village\"\n\
                      [[mail.route]]\nto = \"world.example\"\nvia = \"uucp:far\"\n";
        let (hub, village) = pair(&format!("[sites.village]\nmail = {{ relay = {relay} }}\n{routes}"), "");
        village.run(&["uux", "-a", requestor, "-", "hub!rnews"], b"#! gunzip\nno gzip");
        call(&village);
        let mail = hub.queued() + hub.mail("alice").len();
        assert_eq!((mail, hub.dead().len()), (told.into(), 1), "{requestor}, relay {relay}");
    }
}

#[test]
fn a_file_that_we_ask_for_comes_only_if_it_is_as_small_as_the_site_may_send_us() {
    for (limits, comes, waits) in [
        ("", true, false),
        ("receive-limits = [{ size = \"1K\" }]", false, false),
        ("receive-limits = [{ size = \"10K\" }]", true, false),
        ("receive-limits = [{ called = false, size = \"1K\" }]", false, true),
        ("receive-limits = [{ called = true, size = \"1K\" }]", true, false),
    ] {
        let (hub, village) = pair("[sites.village]\n", limits);
        fs::write(hub.spool().join("public/large"), [b'x'; 5000]).expect("a file");
        ask(&village, &["uucp", "hub!~/large", "~/got"]);
        call(&village);
        assert_eq!(village.spool().join("public/got").exists(), comes, "{limits}");
        assert_eq!((village.queued(), village.dead().len()), (waits.into(), (!comes && !waits).into()), "{limits}");
        let log = hub.run(&["log"], b"");
        assert_eq!(log.contains("sent 1 file"), comes, "the limit is told, so that nothing comes in vain: {log}");
    }
}

#[test]
fn who_asked_for_a_command_that_fails_is_told_as_they_wished() {
    for (options, told) in [(&[][..], true), (&["-z"], true), (&["-n"], false)] {
        let (hub, village) = pair("[sites.village]\n", "");
        village.run(&[&["uux", "-a", "bob"], options, &["-", "hub!rnews"]].concat(), b"#! gunzip\nno gzip");
        for _ in 0..2 {
            call(&village);
        }
        let expected: &[&str] = if told { &["Command failed"] } else { &[] };
        assert_eq!(subjects(&village, "bob"), expected, "{options:?}");
        assert_eq!((hub.queued(), hub.dead().len()), (0, 1), "{options:?}");
    }
}

#[test]
fn two_sites_that_take_no_mail_do_not_tell_each_other_so_for_ever() {
    let (hub, village) = pair("[sites.village]\ncommands = [\"rnews\"]\n", "commands = [\"rnews\"]\n");
    village.run(&["uux", "-a", "bob", "-", "hub!rnews"], b"#! gunzip\nno gzip");
    for _ in 0..4 {
        call(&village);
    }
    assert_eq!((hub.queued(), village.queued()), (0, 0));
    assert_eq!(subjects(&village, "bob"), [""; 0]);
}
