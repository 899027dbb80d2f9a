//! What the outside learns of calls.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::site::{BANGPATH, Site, said};

#[test]
fn each_call_is_explained_told_to_the_hook_and_noted_as_taylor_does() {
    let hub = Site::new("hub", "[sites.village]\n");
    let rest = |hub: &Site, command: &str| {
        format!(
            "[port.p]\ntype = \"pipe\"\ncommand = [{command}]\nspeed = 1000000\n[sites.hub]\ncall = [{{ port = \"p\" }}]\n\
             [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n# {}\n",
            hub.config().display()
        )
    };
    let answering = format!("\"{BANGPATH}\", \"uucico\", \"-I\", \"{}\", \"-u\", \"village\"", hub.config().display());
    let village = Site::new("village", &rest(&hub, &answering));
    let (hook, heard) = (village.path("hook"), village.path("heard"));
    let script = format!(
        "#!/bin/sh\nread -r json\necho \"$BANGPATH_EVENT $BANGPATH_SITE $BANGPATH_PORT $BANGPATH_PROTOCOL $json\" >> {}\n",
        heard.display()
    );
    fs::write(&hook, script).expect("a file");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("a mode");
    let watched = format!(
        "call-hook = [\"{}\"]\ntaylor-log = \"{}\"\ntaylor-stats = \"{}\"\n\n",
        hook.display(),
        village.path("Log").display(),
        village.path("Stats").display()
    );
    village.configure(&(watched.clone() + &rest(&hub, &answering)));
    village.run(&["sendmail", "alice@hub.example"], b"Subject: watched\n\nHello\n");
    village.run(&["call", "hub"], b"");

    let shown = village.run(&["log"], b"");
    assert!(
        shown.contains("call complete (protocol i): sent 1 file") && shown.contains("% of 1000000 bit/s"),
        "{shown}"
    );
    let heard_now = fs::read_to_string(&heard).expect("the hook ran");
    let lines: Vec<&str> = heard_now.lines().collect();
    assert!(lines[0].starts_with("start hub p  {") && lines[1].starts_with("end hub p i {"), "{heard_now}");
    assert!(lines[1].contains("\"files_sent\":1") && lines[1].contains("\"direction\":\"out\""), "{heard_now}");
    let log = fs::read_to_string(village.path("Log")).expect("a log");
    assert!(log.contains(") Calling system hub (port p)\n") && log.contains(") Call complete ("), "{log}");
    assert!(log.lines().all(|line| line.starts_with("uucico hub - (20")), "{log}");
    let statistics = fs::read_to_string(village.path("Stats")).expect("statistics");
    assert!(statistics.starts_with("uucp hub (20") && statistics.contains(") sent "), "{statistics}");

    // A call that fails is told of, and a hook that fails harms nothing.
    fs::write(&hook, "#!/bin/sh\nexit 3\n").expect("a file");
    village.configure(&(watched + &rest(&hub, "\"false\"")));
    let call = village.try_run(&["call", "hub"], b"", None);
    assert_eq!(call.status.code(), Some(75), "{}", said(&call));
    let log = fs::read_to_string(village.path("Log")).expect("a log");
    assert!(log.lines().last().is_some_and(|line| line.contains("ERROR: the line was lost")), "{log}");
}

/// What a `uucico` that answers with these options says first in protocol i, its handshake left out; whether it ran at all.
fn first_packet(site: &Site, options: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new(BANGPATH);
    command.args(["uucico", "-I"]).arg(site.config()).args(options);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut to = child.stdin.take().expect("piped");
    let _ = to.write_all(b"\x10Svillage -R -N047\0\x10Ui\0");
    let mut heard = Vec::new();
    // SYNC: a header of six bytes, four of data and their sum.
    for byte in BufReader::new(child.stdout.take().expect("piped")).bytes().map_while(Result::ok) {
        heard.push(byte);
        let packet = heard.iter().position(|byte| *byte == 0x07).map(|at| &heard[at..]);
        if let Some(packet) = packet.filter(|packet| packet.len() == 14) {
            let packet = packet.to_vec();
            drop(to);
            let _ = child.wait();
            return Some(packet);
        }
    }
    let _ = child.wait();
    None
}

#[test]
fn who_answers_is_told_by_the_port_that_the_line_is_half_duplex() {
    let site = Site::new(
        "hub",
        "[port.radio]\ntype = \"pipe\"\ncommand = [\"true\"]\nhalf-duplex = true\n[sites.village]\ncall = [{ port = \"radio\" }]\n",
    );
    // The last byte of its data is how many channels it takes.
    let channels = |options: &[&str]| first_packet(&site, options).map(|packet| packet[9]);
    assert_eq!(channels(&["-u", "village"]), Some(7));
    assert_eq!(channels(&["-u", "village", "-p", "radio"]), Some(1));
    assert_eq!(channels(&["-u", "village", "-p", "nowhere"]), None, "a port that no site has is a mistake");
}
