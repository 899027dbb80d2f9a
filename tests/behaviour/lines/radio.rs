//! Two sites and the air between them.

use std::time::Duration;

use super::air::{Air, Program};
use crate::site::{Site, said, until};

fn port(air: &Air, station: usize, program: &str, more: &str) -> String {
    let address = &air.stations[station];
    format!(
        "[port.hf]\ntype = \"modem-tcp\"\naddress = \"{}\"\ndata-address = \"{}\"\ndialect = \"{program}\"\n\
         call-sign = \"N0CALL-{station}\"\nspeed = 40000\n{more}\n",
        address.commands, address.data
    )
}

fn check(program: Program, word: &str, busy: Duration) {
    let air = Air::new(program, busy);
    let rest = format!(
        "{}[sites.village]\ncalled-login = \"N0CALL-1\"\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:village\"\n",
        port(&air, 0, word, "answer = true\nask-login = false")
    );
    let hub = Site::new("hub", &rest);
    let village = Site::new(
        "village",
        &format!(
            "{}[sites.hub]\ncall = [{{ port = \"hf\", station = \"n0call-0\" }}]\n\
             [[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n",
            port(&air, 1, word, "setup = [\"BW500\"]")
        ),
    );
    let _daemon = hub.daemon(None);
    let listens = || air.commands(0).iter().filter(|c| ["LISTEN ON", "LISTEN TRUE"].contains(&c.as_str())).count();
    until("the hub listens", || (listens() == 1).then_some(()));
    let text = "CQ de village\n".repeat(500);
    let letter = format!("From: bob@village.example\nSubject: by radio\n\n{text}");
    village.run(&["sendmail", "-f", "bob@village.example", "alice@hub.example"], letter.as_bytes());
    hub.run(&["sendmail", "-f", "alice@hub.example", "bob@village.example"], letter.as_bytes());
    let call = village.try_run(&["call", "hub"], b"", None);
    assert!(call.status.success(), "{}", said(&call));
    until("both letters arrive", || (hub.mail("alice").len() == 1 && village.mail("bob").len() == 1).then_some(()));
    assert!(hub.mail("alice")[0].ends_with(&text) && village.mail("bob")[0].ends_with(&text));
    until("the stations are free", || air.is_quiet().then_some(()));
    assert!(air.commands(1).contains(&"BW500".to_owned()));
    assert!((0..2).any(|station| air.commands(station).contains(&"DISCONNECT".to_owned())));

    // The hub listens again, and nobody answers to another name.
    until("the hub listens again", || (listens() == 2).then_some(()));
    village.configure(&format!(
        "{}[sites.hub]\ncall = [{{ port = \"hf\", station = \"K1ABC\" }}]\n",
        port(&air, 1, word, "")
    ));
    let call = village.try_run(&["call", "hub"], b"", None);
    assert_eq!(call.status.code(), Some(75));
    assert!(said(&call).contains("no connection"), "{}", said(&call));
}

#[test]
fn mail_goes_both_ways_by_vara_when_the_channel_is_free() {
    check(Program::Vara, "vara", Duration::from_secs(2));
}

#[test]
fn mail_goes_both_ways_by_ardop() {
    check(Program::Ardop, "ardop", Duration::ZERO);
}
