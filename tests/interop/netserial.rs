//! Serial ports at a server on the network: ser2net, with RFC 2217.

use std::fs;

use super::exchange::{Exchange, Setup};
use super::line::NullModem;
use super::ours::{Ours, until};
use super::peers;
use super::servers::{Running, free_address};

/// A server of the line `device`, at 9600 until it is told otherwise. `None` where ser2net is missing.
fn ser2net(folder: &std::path::Path, device: &str) -> Option<(String, Running)> {
    let address = free_address();
    let server = ser2net_at(folder, device, &address)?;
    Some((address, server))
}

fn ser2net_at(folder: &std::path::Path, device: &str, address: &str) -> Option<Running> {
    let mut command = peers::command("usr/sbin/ser2net")?;
    let port = address.rsplit_once(':').expect("a port").1;
    let config = folder.join("ser2net.yaml");
    let text = format!(
        "connection: &line\n  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n  connector: serialdev,{device},9600n81,local\n"
    );
    fs::write(&config, text).expect("a file");
    command.args(["-n", "-d", "-u", "-c"]).arg(&config);
    if let Some(modules) = modules() {
        command.env("GENSIO_LIBRARY_PATH", modules);
    }
    Some(Running::start(command, address, &folder.join("ser2net.log")))
}

/// Where its library finds the parts of itself, when it was unpacked and not installed.
fn modules() -> Option<std::path::PathBuf> {
    let below = |path: std::path::PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path());
    let machines = below(peers::folder().join("usr/libexec"));
    machines.flat_map(|machine| below(machine.join("gensio"))).next()
}

fn village(port: &str, way: &str) -> Ours {
    let ours = Ours::new("village", "");
    fs::write(ours.folder.path().join("password"), "secret\n").expect("a file");
    fs::write(ours.folder.path().join("mine.toml"), PROFILE).expect("a file");
    ours.configure(&format!(
        "[port.out]\ntype = \"serial\"\n{port}\n[sites.hub]\ncall = [{{ port = \"out\", {way} }}]\nlogin = \"Uvillage\"\n\
         password-file = \"password\"\n[[mail.route]]\nto = \"*\"\nvia = \"uucp:hub\"\n"
    ));
    ours
}

fn hub(device: &str, more: &str) -> Ours {
    let port = format!("[port.in]\ntype = \"serial\"\ndevice = \"{device}\"\nspeed = 115200\nanswer = true\n{more}");
    let hub = Ours::new("hub", &format!("{port}\n[sites.village]\ncalled-login = \"Uvillage\"\n"));
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    hub
}

fn letter() -> Vec<u8> {
    let bytes = (1..=255).filter(|byte| !matches!(byte, b'\r' | b'\n')).cycle().take(20_000);
    [b"Subject: test\n\n", &bytes.collect::<Vec<u8>>()[..], b"\n"].concat()
}

/// A pty has no carrier: ser2net says that it is lost.
const PROFILE: &str =
    "name = \"mine\"\nmanual = \"none\"\ntried = \"the modem twin\"\ncarrier = false\ninit = [\"ATZ\"]\n";

#[test]
fn a_call_over_ser2net_sets_the_line_and_passes_every_byte() {
    let modem = NullModem::new();
    let [near, far] = modem.devices.clone().map(|d| d.display().to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let Some((address, _server)) = ser2net(folder.path(), &near) else { return };
    let hub = hub(&far, "");
    let _daemon = hub.daemon();
    let village =
        village(&format!("server = \"{address}\"\nspeed = 115200"), "chat = '\"\" \\r ogin:--ogin: \\L word: \\P'");
    village.run(&["sendmail", "alice@hub.example"], &letter());
    let call = village.call("hub");
    assert!(call.status.success(), "{}: {}", String::from_utf8_lossy(&call.stderr), hub.log());
    until("the letter", || hub.mail_count("alice").eq(&1).then_some(()), || hub.log());
}

#[test]
fn a_modem_at_ser2net_is_dialled_and_hung_up() {
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222")]);
    let folder = tempfile::tempdir().expect("a folder");
    let Some((address, _server)) = ser2net(folder.path(), &exchange.devices[1].display().to_string()) else { return };
    let hub = hub(&exchange.devices[0].display().to_string(), "flow = \"none\"\nmodem = \"hayes\"");
    let _daemon = hub.daemon();
    let port = format!("server = \"{address}\"\nspeed = 115200\nflow = \"none\"\nmodem = \"mine.toml\"");
    let village = village(&port, "phone = \"111\"");
    for round in 1..=2 {
        village.run(&["sendmail", "alice@hub.example"], b"Subject: test\n\nby telephone\n");
        let call = village.call("hub");
        assert!(call.status.success(), "{}: {}", String::from_utf8_lossy(&call.stderr), hub.log());
        until("the letter", || hub.mail_count("alice").eq(&round).then_some(()), || hub.log());
        until("both modems have hung up", || exchange.is_quiet().then_some(()), || hub.log());
    }
    assert_eq!(exchange.commands(1)[..2], ["ATZ", "ATDT111"]);
}

#[test]
fn callers_are_waited_for_at_ser2net_which_may_go_and_come_back_and_calls_out_go_over_it_too() {
    let busy = Setup { busy: true, ..Setup::number("333") };
    let exchange = Exchange::new(&[Setup::number("111"), Setup::number("222"), busy]);
    let folder = tempfile::tempdir().expect("a folder");
    let device = exchange.devices[0].display().to_string();
    let Some((address, server)) = ser2net(folder.path(), &device) else { return };
    let profile = "flow = \"none\"\nmodem = \"mine.toml\"";
    let way = "{ port = \"in\", phone = \"333\" }";
    let hub = Ours::new("hub", "");
    fs::write(hub.folder.path().join("mine.toml"), PROFILE).expect("a file");
    hub.configure(&format!(
        "[port.in]\ntype = \"serial\"\nserver = \"{address}\"\nspeed = 115200\nanswer = true\n{profile}\n\
         [sites.village]\ncalled-login = \"Uvillage\"\ncall = [{way}]\nlogin = \"Uhub\"\npassword-file = \"password\"\n"
    ));
    fs::write(hub.folder.path().join("password"), "secret\n").expect("a file");
    hub.run(&["user", "add", "Uvillage", "--password", "secret"], b"");
    let hub_daemon = hub.daemon();
    let prepared = |times| exchange.commands(0).iter().filter(|command| *command == "ATZ").count() >= times;
    let village = village(
        &format!("device = \"{}\"\nspeed = 115200\nlocks = \"\"\n{profile}", exchange.devices[1].display()),
        "phone = \"111\"",
    );
    let call_in = |round| {
        village.run(&["sendmail", "alice@hub.example"], b"Subject: test\n\nby telephone\n");
        let call = village.call("hub");
        assert!(call.status.success(), "{}: {}", String::from_utf8_lossy(&call.stderr), hub.log());
        until("the letter", || hub.mail_count("alice").eq(&round).then_some(()), || hub.log());
        until("both modems have hung up", || exchange.is_quiet().then_some(()), || hub.log());
    };
    until("the hub waits", || prepared(1).then_some(()), || hub.log());
    call_in(1);
    until("the hub waits again", || prepared(2).then_some(()), || hub.log());
    // It is busy, but it is dialled: we have given the server's port up to our own call.
    let call = until(
        "the line is free",
        || Some(hub.call("village").stderr).filter(|said| !String::from_utf8_lossy(said).contains("in use")),
        || hub.log(),
    );
    assert!(String::from_utf8_lossy(&call).contains("BUSY"), "{}", String::from_utf8_lossy(&call));
    until("the hub waits again", || prepared(4).then_some(()), || hub.log());
    drop(server);
    until("it is missed", || hub.log().contains("cannot wait for callers").then_some(()), || hub.log());
    let _server = ser2net_at(folder.path(), &device, &address).expect("it ran before");
    until("the hub waits again", || prepared(5).then_some(()), || hub.log());
    call_in(2);
    assert_eq!(hub.log().matches("cannot wait for callers").count(), 1, "{}", hub.log());
    drop(hub_daemon);
}

#[test]
fn a_port_in_use_or_of_no_serial_server_is_said_so() {
    let modem = NullModem::new();
    let folder = tempfile::tempdir().expect("a folder");
    let Some((address, _server)) = ser2net(folder.path(), &modem.devices[0].display().to_string()) else { return };
    // Running it has made a connection, whose end it may not have seen yet.
    let one = until("the port", || std::net::TcpStream::connect(&address).ok(), String::new);
    let village = village(&format!("server = \"{address}\""), "chat = \"\"");
    let said = String::from_utf8_lossy(&village.call("hub").stderr).into_owned();
    assert!(said.contains("gives no serial port: it hangs up at once: is the port in use?"), "{said}");
    drop(one);
}

/// What pyserial does at `address`: it sets the port, has the modem answer, and looks at the lines.
const PYSERIAL: &str = "
import serial, sys
port = serial.serial_for_url('rfc2217://' + sys.argv[1], baudrate=19200, timeout=10)
port.baudrate, port.stopbits, port.xonxoff = 38400, 2, True
port.reset_input_buffer()
port.rts, port.dtr, port.break_condition = False, True, True
port.break_condition = False
port.write(b'ATE0\\r')
print(port.read_until(b'OK'), port.cts)
port.close()
";

#[test]
fn pyserial_has_a_shared_port_of_ours() {
    let Some(module) = peers::find("usr/lib/python3/dist-packages/serial/rfc2217.py") else { return };
    let exchange = Exchange::new(&[Setup::number("111")]);
    let device = exchange.devices[0].display().to_string();
    let port = format!("[port.modem]\ntype = \"serial\"\ndevice = \"{device}\"\nshare = \"127.0.0.1:0\"\n");
    let ours = Ours::new("hub", &port);
    let _daemon = ours.daemon();
    let mut command = std::process::Command::new("python3");
    command.args(["-c", PYSERIAL, &ours.address("share modem")]);
    command.env("PYTHONPATH", module.ancestors().nth(2).expect("its folder"));
    let said = super::ours::run(command, b"");
    let heard = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(heard.contains("OK") && heard.contains("True"), "{heard}{}", String::from_utf8_lossy(&said.stderr));
}
