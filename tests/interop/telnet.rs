//! A telnet client as people have it, at our port for UUCP over telnet.

use std::io::{Read, Write};
use std::process::Stdio;

use super::ours::Ours;
use super::peers;

#[test]
fn a_telnet_client_logs_in_as_far_as_the_first_word_of_the_session() {
    let Some(mut command) = peers::command("usr/bin/inetutils-telnet") else { return };
    let hub =
        Ours::new("hub", "[listen]\nuucp-telnet = \"127.0.0.1:0\"\n[sites.village]\ncalled-login = \"Uvillage\"\n");
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    let _daemon = hub.daemon();
    let address = hub.address("uucp-telnet");
    let (host, port) = address.rsplit_once(':').expect("a port");
    let telnet = command.args([host, port]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut telnet = telnet.spawn().expect("it starts");
    let (mut keys, mut screen) = (telnet.stdin.take().expect("piped"), telnet.stdout.take().expect("piped"));
    let mut shown = Vec::new();
    for (wanted, typed) in [("login: ", "Uvillage\n"), ("Password:", "secret\n"), ("\x10Shere=hub\0", "")] {
        while !shown.ends_with(wanted.as_bytes()) {
            let mut byte = [0];
            let read = screen.read(&mut byte).expect("readable");
            assert_eq!(read, 1, "{wanted} does not come: {}: {}", shown.escape_ascii(), hub.log());
            shown.push(byte[0]);
        }
        keys.write_all(typed.as_bytes()).expect("typed");
    }
    drop(keys);
    let _ = telnet.kill();
    let _ = telnet.wait();
}
