//! What a session can do beside sending and fetching, with Taylor UUCP at the other end: counted calls, wildcards, forwarding, stops.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ours::{Ours, assert_same, noise, until};
use super::taylor::Taylor;

fn site(words: &[String], more: &str) -> String {
    format!("[port.out]\ntype = \"pipe\"\ncommand = {words:?}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\n{more}\n")
}

/// We call Taylor.
pub fn pair(ours: &str, theirs: &str) -> Option<(Ours, Taylor)> {
    let taylor = Taylor::new("hub", "village", "type stdin", theirs)?;
    let village = Ours::new("village", "");
    village.configure(&site(&taylor.uucico(), ours));
    fs::create_dir_all(village.public()).expect("a folder");
    Some((village, taylor))
}

/// Taylor calls us.
pub fn reverse(ours: &str, theirs: &str) -> Option<(Ours, Taylor)> {
    let village = Ours::new("village", &format!("[sites.hub]\n{ours}\n"));
    fs::create_dir_all(village.public()).expect("a folder");
    let taylor = Taylor::new("hub", "village", &format!("type pipe\ncommand {}", village.uucico().join(" ")), theirs)?;
    Some((village, taylor))
}

pub fn complete(village: &Ours) {
    let output = village.call("hub");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn calls_to_taylor_are_counted_and_a_wrong_number_is_told_and_mended() {
    let Some((village, taylor)) = pair("sequence = true", "sequence true\nprotocol t") else { return };
    for _ in 0..3 {
        complete(&village);
    }
    assert_eq!(village.run(&["site", "sequence", "hub"], b""), "3\n");
    village.run(&["site", "sequence", "hub", "7"], b"");
    let output = village.call("hub");
    assert!(String::from_utf8_lossy(&output.stderr).contains("RBADSEQ"), "{}", taylor.log());
    assert_eq!(village.run(&["site", "sequence", "hub"], b""), "7\n", "a refused call is not counted");
    // Taylor has counted it.
    village.run(&["site", "sequence", "hub", "4"], b"");
    complete(&village);
}

#[test]
fn calls_from_taylor_are_counted_and_a_wrong_number_is_refused() {
    let Some((village, taylor)) = reverse("sequence = true", "sequence true\nprotocol t") else { return };
    for _ in 0..2 {
        assert!(taylor.call("village").status.success(), "{}", taylor.log());
    }
    assert!(village.run(&["site", "show", "hub"], b"").contains("call number   2"));
    village.run(&["site", "sequence", "hub", "9"], b"");
    assert!(!taylor.call("village").status.success());
    assert!(taylor.log().contains("BADSEQ"), "{}", taylor.log());
}

#[test]
fn taylor_that_is_called_back_takes_it_for_no_trouble() {
    let Some((village, taylor)) = reverse("", "protocol t") else { return };
    village.configure(&site(&taylor.uucico(), "call-back = true"));
    assert!(taylor.call("village").status.success(), "{}", taylor.log());
    assert!(taylor.log().contains("Remote system will call back"), "{}", taylor.log());
    let list = village.run(&["site", "list", "--json"], b"");
    assert!(list.contains("due now"), "{list}");
}

#[test]
fn taylor_calls_back_and_that_is_no_failure() {
    let Some((village, _taylor)) = pair("", "callback true\nprotocol t") else { return };
    complete(&village);
    let shown = village.run(&["site", "show", "hub"], b"");
    assert!(shown.contains("the site will call back") && shown.contains("failures      0"), "{shown}");
}

/// The words of a program that also keeps what `words` say, in a file.
fn overheard(words: &[String], folder: &Path) -> (Vec<String>, PathBuf) {
    let said = folder.join("said");
    let script = format!("{} | tee {}", words.join(" "), said.display());
    let program = folder.join("overheard");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a file");
    (vec![program.display().to_string()], said)
}

/// Whether these are the first words behind the offer of protocols.
fn comes_before_the_protocol(said: &Path, words: &str) -> bool {
    let said = fs::read(said).expect("something was said");
    let text = String::from_utf8_lossy(&said);
    text.split_once("\u{10}P")
        .and_then(|(_, rest)| rest.split_once('\0'))
        .is_some_and(|(_, rest)| rest.starts_with(words))
}

#[test]
fn a_caller_hears_a_chat_between_the_choice_of_the_protocol_and_its_beginning() {
    // Protocols that look for packets pass over words; to the others even a pause is a chat.
    for (protocol, chat, words) in [
        ("i", "\"\" ready\\c", "ready"),
        ("g", "\"\" ready\\c", "ready"),
        ("t", "\"\" \\d\\c", ""),
        ("e", "\"\" \\p\\c", ""),
    ] {
        let Some((village, taylor)) = reverse(&format!("called-chat = '{chat}'"), &format!("protocol {protocol}"))
        else {
            return;
        };
        let (program, said) = overheard(&village.uucico(), taylor.folder.path());
        taylor.set_port(&format!("type pipe\ncommand {}", program.join(" ")));
        fs::write(taylor.path("letter"), noise(1, 3000)).expect("a file");
        taylor.uucp(&["-C", &taylor.path("letter").display().to_string(), "village!~/"]);
        assert!(taylor.call("village").status.success(), "{}", taylor.log());
        assert_same(&village.public().join("letter"), &noise(1, 3000));
        assert!(comes_before_the_protocol(&said, words), "{protocol}");
        // The same the other way round: it is there that Taylor says it, and we pass over it.
        let Some((village, taylor)) = pair("", &format!("protocol {protocol}\ncalled-chat {chat}")) else { return };
        let (program, said) = overheard(&taylor.uucico(), village.folder.path());
        village.configure(&site(&program, ""));
        complete(&village);
        assert!(comes_before_the_protocol(&said, words), "{protocol}");
    }
}

#[test]
fn a_called_chat_that_fails_ends_the_call() {
    let Some((village, taylor)) = reverse("called-chat = 'sesame\\W1 \\c'", "protocol i") else { return };
    assert!(!taylor.call("village").status.success(), "{}", taylor.log());
    let shown = village.run(&["site", "show", "hub"], b"");
    assert!(shown.contains("the chat with the caller failed: `sesame` did not come within 1 s"), "{shown}");
    let Some((village, _taylor)) = pair("", "protocol i\ncalled-chat sesame\\W1 \\c") else { return };
    assert!(!village.call("hub").status.success());
}

#[test]
fn wildcards_of_ours_are_found_by_taylor_and_of_its_by_us() {
    for protocol in ["t", "g", "i"] {
        let Some((village, taylor)) = pair("", &format!("protocol {protocol}")) else { return };
        for name in ["one.txt", "two.txt", "three.dat"] {
            fs::write(taylor.path("pub").join(name), noise(1, 5000)).expect("a file");
            fs::write(village.public().join(format!("v{name}")), noise(2, 700)).expect("a file");
        }
        village.run(&["uucp", "hub!~/*.txt", "~/got/"], b"");
        let target = format!("{}/", taylor.path("pub").display());
        taylor.uucp(&["village!~/v*.txt", &target]);
        complete(&village);
        for name in ["one.txt", "two.txt"] {
            assert_same(&village.public().join("got").join(name), &noise(1, 5000));
            assert_same(&taylor.path("pub").join(format!("v{name}")), &noise(2, 700));
        }
        assert!(!village.public().join("got/three.dat").exists() && !taylor.path("pub/vthree.dat").exists());
        assert!(village.run(&["queue", "list"], b"").trim().lines().count() <= 1, "nothing is left");
    }
}

#[test]
fn a_site_that_may_not_ask_gets_no_wildcards() {
    let Some((village, taylor)) = pair("requests = false", "protocol t") else { return };
    fs::write(village.public().join("x.txt"), "x").expect("a file");
    taylor.uucp(&["village!~/*.txt", &format!("{}/", taylor.path("pub").display())]);
    complete(&village);
    assert!(!taylor.path("pub/x.txt").exists());
}

/// village — hub — far; the hub is Taylor's.
#[test]
fn taylor_sends_on_what_is_for_a_site_behind_it() {
    let more = "protocol t\nforward ANY\nsystem far\nforward ANY\nremote-send ~\nremote-receive ~\nlocal-send /\ntime any\nport out\nchat \"\"\nprotocol t";
    let Some((village, taylor)) = pair("", more) else { return };
    taylor.allow("rmail rnews uucp");
    let far = Ours::new("far", "[sites.hub]\n");
    fs::create_dir_all(far.public()).expect("a folder");
    fs::write(village.public().join("letter"), "hello").expect("a file");
    let letter = village.public().join("letter").display().to_string();
    village.run(&["uucp", &letter, "hub!far!~/"], b"");
    complete(&village);
    taylor.run_arrived();
    taylor.set_port(&format!("type pipe\ncommand {}", far.uucico().join(" ")));
    assert!(taylor.call("far").status.success(), "{}", taylor.log());
    assert_same(&far.public().join("letter"), b"hello");
}

/// The hub in the middle is ours; Taylor is at one end.
#[test]
fn we_send_on_what_policy_lets_pass() {
    for permitted in [true, false] {
        let policy = if permitted { "forward-to = [\"far\"]" } else { "" };
        let hub = Ours::new("hub", "");
        let far = Ours::new("far", "[sites.hub]\n");
        fs::create_dir_all(far.public()).expect("a folder");
        hub.configure(&format!(
            "[port.far]\ntype = \"pipe\"\ncommand = {:?}\n\n[sites.far]\ncall = [{{ port = \"far\" }}]\n\n[sites.village]\n{policy}\n",
            far.uucico()
        ));
        let port = format!("type pipe\ncommand {}", hub.uucico().join(" "));
        let Some(taylor) = Taylor::new("village", "hub", &port, "protocol t") else { return };
        fs::write(taylor.path("letter"), "hello").expect("a file");
        taylor.uucp(&["-C", &taylor.path("letter").display().to_string(), "hub!far!~/"]);
        assert!(taylor.call("hub").status.success(), "{}", taylor.log());
        let output = hub.call("far");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(far.public().join("letter").exists(), permitted);
    }
}

#[test]
fn a_file_of_a_site_behind_us_comes_through_us_where_the_asker_may_have_it() {
    for (from, permitted) in [("far", true), ("other", false)] {
        fetch_through_us(from, permitted);
    }
}

/// `from`: whose files the asker may have through us.
fn fetch_through_us(from: &str, permitted: bool) {
    let hub = Ours::new("hub", "");
    let far = Ours::new("far", "[sites.hub]\nforward-to = [\"*\"]\n");
    fs::create_dir_all(far.public()).expect("a folder");
    fs::write(far.public().join("wanted"), "from far").expect("a file");
    hub.configure(&format!(
        "[port.far]\ntype = \"pipe\"\ncommand = {:?}\n\n[sites.far]\ncall = [{{ port = \"far\" }}]\nforward-to = [\"village\"]\n\n\
         [sites.village]\nforward-from = [\"{from}\"]\nforward-to = [\"*\"]\n\n[sites.other]\n",
        far.uucico()
    ));
    let port = format!("type pipe\ncommand {}", hub.uucico().join(" "));
    let Some(taylor) = Taylor::new("village", "hub", &port, "protocol t") else { return };
    taylor.uucp(&["hub!far!~/wanted", &format!("{}/", taylor.path("pub").display())]);
    assert!(taylor.call("hub").status.success(), "{}", taylor.log());
    let output = hub.call("far");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(taylor.call("hub").status.success(), "{}", taylor.log());
    assert_eq!(taylor.path("pub/wanted").exists(), permitted, "{from}");
    if permitted {
        assert_same(&taylor.path("pub/wanted"), b"from far");
    }
}

#[test]
fn a_call_in_the_daemon_is_hung_up_in_each_way_and_goes_on_later() {
    for (option, whole) in [(Some("--now"), false), (Some("--drain"), true), (None, true)] {
        let Some(taylor) = Taylor::new("hub", "village", "type stdin", "protocol i") else { return };
        let village = Ours::new("village", "");
        // Slow enough that the call is still going on.
        let more = "retry = \"1h\"";
        let slow = site(&taylor.uucico(), more).replace("[sites", "speed = 200000\n\n[sites");
        village.configure(&slow);
        let files = [noise(1, 60_000), noise(2, 60_000)];
        let daemon = village.daemon();
        for (n, bytes) in files.iter().enumerate() {
            let path = village.folder.path().join(format!("f{n}"));
            fs::write(&path, bytes).expect("a file");
            village.run(&["uucp", "-g", &n.to_string(), &path.display().to_string(), "hub!~/"], b"");
        }
        let words: Vec<&str> = ["site", "hang-up", "hub"].into_iter().chain(option).collect();
        until("the call", || village.try_run(&words, b"").status.success().then_some(()), || village.log());
        let show = || village.run(&["site", "show", "hub"], b"");
        until("the end", || show().contains("last call     20").then_some(()), show);
        let shown = show();
        assert_eq!(shown.contains("call complete"), whole, "{option:?} {shown}");
        drop(daemon);
        until("Taylor's lock", || Some(village.call("hub")).filter(|o| o.status.success()), || taylor.log());
        for (n, bytes) in files.iter().enumerate() {
            assert_same(&taylor.path(&format!("pub/f{n}")), bytes);
        }
    }
}

#[test]
fn a_file_too_large_for_now_stays_with_taylor_and_one_too_large_ever_does_not_come() {
    let Some((village, taylor)) = reverse("receive-limits = [{ called = true, size = \"1K\" }]", "protocol t") else {
        return;
    };
    fs::write(taylor.path("large"), noise(1, 5000)).expect("a file");
    taylor.uucp(&["-C", &taylor.path("large").display().to_string(), "village!~/"]);
    assert!(taylor.call("village").status.success(), "{}", taylor.log());
    assert!(!village.public().join("large").exists());
    village.configure("[sites.hub]\nreceive-limits = [{ called = false, size = \"1K\" }]\n");
    assert!(taylor.call("village").status.success(), "{}", taylor.log());
    assert_same(&village.public().join("large"), &noise(1, 5000));
}

#[test]
fn what_we_send_obeys_the_limits_of_the_call() {
    for (rule, comes, waits) in [
        ("{ called = true, size = \"1K\" }", true, false),
        ("{ called = false, size = \"1K\" }", false, true),
        ("{ size = \"1K\" }", false, false),
    ] {
        let Some((village, taylor)) = pair(&format!("send-limits = [{rule}]"), "protocol i") else { return };
        let path = village.folder.path().join("large");
        fs::write(&path, noise(1, 5000)).expect("a file");
        village.run(&["uucp", &path.display().to_string(), "hub!~/"], b"");
        complete(&village);
        assert_eq!(taylor.path("pub/large").exists(), comes, "{rule}");
        assert_eq!(village.run(&["queue", "list", "--json"], b"").contains("large"), waits, "{rule}");
        assert_eq!(village.run(&["dead", "list"], b"").contains("send-limits"), !comes && !waits, "{rule}");
    }
}

#[test]
fn taylor_makes_a_folder_here_or_has_none_made_and_a_user_here_told() {
    for (options, place, comes) in
        [(&["-d"][..], "made/x", true), (&["-f"], "made/x", false), (&["-f"], "there/x", true), (&[], "made/x", true)]
    {
        let Some((village, taylor)) = reverse("", "protocol t") else { return };
        fs::create_dir(village.public().join("there")).expect("a folder");
        fs::write(taylor.path("letter"), "hello").expect("a file");
        let letter = taylor.path("letter").display().to_string();
        taylor.uucp(&[options, &["-C", "-n", "alice", &letter, &format!("village!~/{place}")]].concat());
        assert!(taylor.call("village").status.success(), "{}", taylor.log());
        assert_eq!(village.public().join(place).exists(), comes, "{options:?} {place}");
        assert_eq!(village.mail_count("alice"), usize::from(comes), "{options:?} {place}");
        assert!(!comes || village.mail("alice").contains(&format!("public/{place}")), "{}", village.mail("alice"));
        assert!(!taylor.path("spool/village/C.").read_dir().is_ok_and(|mut left| left.next().is_some()));
    }
}

#[test]
fn we_have_taylor_make_folders_or_not() {
    for (options, place, comes) in
        [(&["-d"][..], "made/x", true), (&["-f"], "made/x", false), (&["-f"], "there/x", true), (&[], "made/x", true)]
    {
        let Some((village, taylor)) = pair("", "protocol t") else { return };
        let there = taylor.path("pub/there");
        fs::create_dir(&there).expect("a folder");
        fs::set_permissions(&there, fs::Permissions::from_mode(0o777)).expect("a folder");
        fs::write(village.folder.path().join("letter"), "hello").expect("a file");
        let letter = village.folder.path().join("letter").display().to_string();
        village.run(&[&["uucp"], options, &[&letter, &format!("hub!~/{place}")]].concat(), b"");
        complete(&village);
        assert_eq!(taylor.path("pub").join(place).exists(), comes, "{options:?} {place}");
    }
}

#[test]
fn who_asked_a_command_of_us_is_told_of_its_refusal_unless_taylor_says_no() {
    // With -b Taylor sends an X. file, without it E.
    for (options, told) in [(&["-b"][..], true), (&["-b", "-z"], true), (&["-b", "-n"], false)] {
        let Some((village, taylor)) = reverse("", "protocol t") else { return };
        taylor.uux(&[options, &["-", "village!reboot"]].concat(), b"now");
        assert!(taylor.call("village").status.success(), "{}", taylor.log());
        let queue = village.run(&["queue", "list", "--json"], b"");
        assert_eq!(queue.contains("\"mail\""), told, "{options:?} {queue}");
        assert!(village.run(&["log"], b"").contains("refused command hub"), "{options:?}");
    }
}

#[test]
fn taylor_sends_no_file_larger_than_we_take() {
    for (limit, comes) in [("1K", false), ("10K", true)] {
        let Some((village, taylor)) = pair(&format!("receive-limits = [{{ size = \"{limit}\" }}]"), "protocol t")
        else {
            return;
        };
        fs::write(taylor.path("pub/large"), noise(1, 5000)).expect("a file");
        village.run(&["uucp", "hub!~/large", "~/got"], b"");
        complete(&village);
        assert_eq!(village.public().join("got").exists(), comes, "{limit}");
        assert_eq!(village.run(&["dead", "list"], b"").contains("receive-limits"), !comes, "{limit}");
        assert_eq!(fs::read_to_string(taylor.path("Stats")).unwrap_or_default().contains("sent"), comes, "{limit}");
    }
}

#[test]
fn what_an_execution_file_says_of_mail_about_success_holds() {
    for (letter, told) in [("n", true), ("Z", false), ("N", false)] {
        let Some((village, taylor)) = reverse("", "protocol t") else { return };
        fs::write(taylor.path("letter"), "From ann remote from hub\nSubject: hello\n\nHello\n").expect("a file");
        let execution = format!("U ann hub\nF D.hubN0009\nI D.hubN0009\n{letter}\nC rmail alice\n");
        fs::write(taylor.path("execution"), execution).expect("a file");
        let sends = ["letter D.hubN0009", "execution X.hubN0009"]
            .map(|names| format!("S {}/{names} ann -c D.0 0666\n", taylor.folder.path().display()));
        fs::create_dir_all(taylor.path("spool/village/C.")).expect("a folder");
        fs::write(taylor.path("spool/village/C./C.NHMPo0AAAGKX"), sends.concat()).expect("a file");
        assert!(taylor.call("village").status.success(), "{}", taylor.log());
        assert_eq!(village.mail_count("alice"), 1, "{}", taylor.log());
        let queue = village.run(&["queue", "list"], b"");
        assert_eq!(queue.contains("<> > ann"), told, "{letter} {queue}");
    }
}

/// What the log of a site says of packets: of those sent and those received, nothing where there are none.
fn packets(log: &str) -> Vec<String> {
    let line = log.lines().rfind(|line| line.contains("Handshake successful")).unwrap_or_else(|| panic!("{log}"));
    let (_, words) = line.split_once(") Handshake successful (protocol '").expect("the protocol");
    let words = words.trim_end_matches(')').split_once('\'').expect("one letter").1;
    let parts = words.replace(" sending packet/window ", "").replace(" receiving ", " ");
    parts.split_ascii_whitespace().map(str::to_owned).collect()
}

#[test]
fn our_log_and_that_of_taylor_tell_the_same_packets_of_a_call() {
    for protocol in ["t", "g", "G", "v", "i", "j", "e", "y", "f"] {
        let ours = "[sites.hub.protocol.g]\nwindow = 3\n[sites.hub.protocol.i]\npacket-size = 500";
        let theirs = format!("protocol {protocol}\nprotocol-parameter i packet-size 700");
        let Some((village, taylor)) = reverse(ours, &theirs) else { return };
        let log = village.folder.path().join("Log");
        let config = fs::read_to_string(&village.config).expect("a file");
        let line = format!("taylor-log = {:?}\n\n[sites.hub]", log.display().to_string());
        fs::write(&village.config, config.replacen("[sites.hub]", &line, 1)).expect("a file");
        assert!(taylor.call("village").status.success(), "{}", taylor.log());
        let (told, expected) = (packets(&fs::read_to_string(&log).expect("a log")), packets(&taylor.log()));
        let turned: Vec<String> = expected.iter().rev().cloned().collect();
        assert_eq!(told, turned, "{protocol}");
        assert_eq!(told.len(), if "gGvij".contains(protocol) { 2 } else { 0 }, "{protocol}: {told:?}");
    }
}
