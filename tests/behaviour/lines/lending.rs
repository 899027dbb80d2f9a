//! A serial port of ours that other programs may have over the network.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::exchange::{Exchange, Setup};
use super::modems::{LETTER, hub, modem, village};
use crate::site::{Site, said, until};

/// What a plain client hears until the connection ends, or there is silence.
fn hear(address: &str) -> String {
    let mut client = TcpStream::connect(address).expect("somebody listens");
    client.set_read_timeout(Some(Duration::from_secs(3))).expect("a timeout");
    let mut heard = Vec::new();
    let _ = client.read_to_end(&mut heard);
    String::from_utf8_lossy(&heard).into_owned()
}

#[test]
fn a_shared_port_is_lent_to_one_client_at_a_time_and_ours_again_afterwards() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let hub = hub(&exchange, 0);
    let port = modem(&exchange.devices[1], "share = \"127.0.0.1:0\"\nanswer = true\nask-login = false");
    let way = "{ port = \"modem\", phone = \"999\", chat = \"\" }";
    let shed = Site::new("shed", &format!("{port}[sites.hub]\ncall = [{way}]\nschedule = []\n"));
    let (_hub_daemon, shed_daemon) = (hub.daemon(None), shed.daemon(None));
    let address = shed_daemon.address("share modem").expect("it is shared");
    let far = format!(
        "[port.modem]\ntype = \"serial\"\nserver = \"{address}\"\nspeed = 38400\nflow = \"none\"\nparity = \"none\"\nmodem = \"hayes\"\n"
    );
    let village = village(&far, "{ port = \"modem\", phone = \"111\" }");
    let log = || ["log"].map(|log| fs::read_to_string(shed.path(log)).unwrap_or_default()).concat();
    for round in 1..=2 {
        village.run(&["sendmail", "alice@hub.example"], LETTER);
        let call = until("the port is free", || {
            let call = village.try_run(&["call", "hub"], b"", None);
            (!said(&call).contains("in use")).then(|| said(&call))
        });
        assert!(call.contains("call complete"), "{call}: {}", log());
        until("the letter arrives", || (hub.mail("alice").len() == round).then_some(()));
        until("both modems have hung up", || exchange.is_quiet().then_some(()));
    }
    // One that sets nothing has it, too.
    let mut first = until("it is lent", || {
        let mut client = TcpStream::connect(&address).ok()?;
        client.write_all(b"ATI\r").ok()?;
        let mut heard = [0; 12];
        client.read_exact(&mut heard).ok()?;
        (heard[0] == 255).then_some(client)
    });
    let refused = hear(&address);
    assert!(refused.contains("port modem is lent to another client"), "{refused}");
    let call = said(&shed.try_run(&["call", "hub"], b"", None));
    assert!(call.contains("port modem is in use"), "{call}");
    first.write_all(b"ATH\r").expect("it is ours");
    drop(first);
    let call = until("it is ours again", || {
        let call = said(&shed.try_run(&["call", "hub"], b"", None));
        (!call.contains("in use")).then_some(call)
    });
    assert!(call.contains("NO CARRIER"), "{call}");
}
