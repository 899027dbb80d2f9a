//! What stands between us and a line, among bytes of any kind: telnet, serial ports at servers and lent by us (RFC 2217), radio
//! modem programs, the line test, a site that is called.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use bangpath::base::limits::{LINE_TEST_TEXT_MAX, LINE_TEST_TURNS_MAX};
use bangpath::base::names::{Grade, SiteName};
use bangpath::base::time::Now;
use bangpath::dialogue::{Dialogue, Facts};
use bangpath::link::{
    CarrierLine, Dialect, Flow, Link, Parity, Place, SerialLine, Speaks, Tnc, TncLine, lend, open_serial,
};
use bangpath::session::line_test::{Asker, Depth, Partner};
use bangpath::session::login::LoginPrompt;
use bangpath::session::{Calling, Session, SettingsByProtocol};
use proptest::prelude::*;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::{any_bytes, check, listen, mutated};
use crate::bad_input::chats::OneUser;
use crate::lines::carrier::{hear, line, run};
use crate::sim::line::Quality;
use crate::sim::shelf::Shelf;
use crate::sim::splits::overhear;

/// A runtime, the streams and their buffers, and what a peer may make us keep.
const LINK_HOLDS: usize = 512 * 1024;
/// Longer than anything waits for a peer that says nothing.
const LONG: Duration = Duration::from_secs(3600);

/// Says it all, takes whatever comes, and hangs up.
async fn say(far: DuplexStream, bytes: &[u8]) {
    let (mut reader, mut writer) = tokio::io::split(far);
    let saying = async {
        let _ = writer.write_all(bytes).await;
        let _ = writer.shutdown().await;
    };
    let mut sink = tokio::io::sink();
    let (_, _) = tokio::join!(saying, tokio::io::copy(&mut reader, &mut sink));
}

fn client() -> (Link, DuplexStream) {
    let (near, far) = tokio::io::duplex(1000);
    let (reader, writer) = tokio::io::split(near);
    (Link::new(Facts::stream("fuzz"), reader, writer), far)
}

/// The client of a lent line.
fn lent(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let (link, far) = client();
        let (_wires, line, end) = line(false);
        let lending = async {
            lend(link, line).await.expect("it is lent");
            drop(end);
        };
        let both = async { tokio::join!(lending, say(far, bytes)) };
        tokio::time::timeout(LONG, both).await.expect("it ends with the client");
    });
}

/// A caller over telnet, or over what its first byte tells.
fn telnet(bytes: &[u8]) {
    run(async {
        for speaks in [Speaks::Telnet, Speaks::TelnetCaller, Speaks::FirstByteTells] {
            let (link, far) = client();
            let hearing = async {
                let mut link = link.over_telnet(speaks);
                let heard = hear(&mut link, usize::MAX).await;
                // Escaped for people, a byte is four letters at most.
                assert!(heard.len() <= 4 * bytes.len());
            };
            tokio::join!(hearing, say(far, bytes));
        }
    });
}

const OPTIONS: &[u8] = b"\xff\xfb\x2c\xff\xfd\x00\xff\xfb\x00\xff\xfd\x03\xff\xfb\x03\xff\xfd\x18\xff\xfa\x18\x00xterm\xff\xf0hi\r\0\xff\xff\xff\xf9";
const REQUESTS: &[u8] = b"\xff\xfb\x2c\xff\xfa\x2c\x00me\xff\xf0\xff\xfa\x2c\x01\x00\x00\xff\xff\x00\xff\xf0\xff\xfa\x2c\x02\x07\xff\xf0\
    \xff\xfa\x2c\x03\x03\xff\xf0\xff\xfa\x2c\x04\x02\xff\xf0\xff\xfa\x2c\x05\x05\xff\xf0\xff\xfa\x2c\x05\x06\xff\xf0\xff\xfa\x2c\x08\xff\xf0\
    \xff\xfa\x2c\x09\xff\xf0\xff\xfa\x2c\x0a\xff\xff\xff\xf0\xff\xfa\x2c\x0b\x00\xff\xf0\xff\xfa\x2c\x0c\x03\xff\xf0ATZ\r";

#[test]
fn telnet_callers_and_clients_of_lent_lines_of_any_kind_are_understood_or_passed_over() {
    let said = || vec![OPTIONS.to_vec(), REQUESTS.to_vec(), [OPTIONS, REQUESTS].concat()];
    let inputs = || prop_oneof![1 => any_bytes(600), 3 => mutated(said())];
    check(200, inputs(), telnet, LINK_HOLDS, 64);
    check(200, inputs(), lent, LINK_HOLDS, 64);
}

/// Connections that are spoken to and hung up at, one after the other; what is answered goes nowhere.
fn speaker(said: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let speak = |words: Vec<u8>| {
            let (mut stream, _) = listener.accept().expect("a client");
            std::thread::spawn(move || {
                let _ = stream.write_all(&words).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
                let _ = TcpStream::read_to_end(&mut stream, &mut Vec::new());
            });
        };
        said.into_iter().for_each(speak);
    });
    address
}

/// A server that has a serial port, it says.
fn serial_server(bytes: &[u8]) {
    run(async {
        let place = Place::Server(speaker(vec![bytes.to_vec()]));
        let line = SerialLine { place, speed: 9600, parity: Parity::None, flow: Flow::None, carrier: CarrierLine::Dcd };
        if let Ok(mut link) = open_serial(&line).await {
            hear(&mut link, usize::MAX).await;
        }
    });
}

#[test]
fn servers_of_serial_ports_of_any_kind_are_understood_or_refused() {
    let settings = b"\xff\xfd\x2c\xff\xfb\x00\xff\xfa\x2c\x70\x03\xff\xf0\xff\xfa\x2c\x65\x00\x00\x25\x80\xff\xf0\xff\xfa\x2c\x66\x08\xff\xf0\
        \xff\xfa\x2c\x67\x01\xff\xf0\xff\xfa\x2c\x68\x01\xff\xf0";
    let talk = b"\xff\xfa\x2c\x6b\x80\xff\xf0hello\xff\xfa\x2c\x6c\xff\xf0\xff\xff\xff\xfa\x2c\x6d\xff\xf0\xff\xfa\x2c\x6b\x08\xff\xf0login:";
    let inputs = prop_oneof![
        1 => any_bytes(300),
        2 => mutated(vec![[&settings[..], talk].concat()]),
        // Set in order, so that what is said behind it is heard.
        2 => mutated(vec![talk.to_vec()]).prop_map(|talk| [&settings[..], &talk].concat()),
    ];
    check(150, inputs, serial_server, LINK_HOLDS, 64);
}

/// What a program says: commands, a separator, data.
const SEPARATOR: u8 = 0x1e;

fn radio(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == SEPARATOR).map(<[u8]>::to_vec);
    let mut next = || parts.next().unwrap_or_default();
    let (commands, data) = (next(), next());
    run(async {
        for dialect in [Dialect::Vara, Dialect::Ardop] {
            let (commands, data) = (speaker(vec![commands.clone()]), speaker(vec![data.clone()]));
            let call_sign = "N0CALL".to_owned();
            let line = TncLine { commands, data, dialect, call_sign, setup: Vec::new(), speed: 1200 };
            let Ok(tnc) = Tnc::reach(&line).await else { continue };
            if let Ok(mut link) = tnc.listen().await {
                hear(&mut link, usize::MAX).await;
            }
        }
    });
}

#[test]
fn radio_modem_programs_of_any_kind_are_understood_or_refused() {
    let said = [
        b"OK\rBUSY ON\rBUSY OFF\rPENDING\rCONNECTED K1ABC N0CALL 500\rBUFFER 10\rBUFFER 0\rDISCONNECTED\r\x1ehello".to_vec(),
        b"NEWSTATE IRS\rCONNECTED K1ABC 500\rFAULT x\rNEWSTATE DISC\r\x1e\x00\x08ARQhello\x00\x05FECxx\x00\x02AR\xff\xffARQx".to_vec(),
        b"CONNECTED K1ABC 500\rBUFFER 99999999999999999999999\r\x1e\x00\x00\x00\x03ARQ\x00\x04ARQ!".to_vec(),
    ];
    let inputs = prop_oneof![
        1 => any_bytes(300).prop_map(|bytes| [&b"CONNECTED a\r\x1e"[..], &bytes].concat()),
        1 => any_bytes(300),
        3 => mutated(said.to_vec()),
    ];
    check(150, inputs, radio, LINK_HOLDS, 64);
}

fn facts() -> Facts {
    Facts::serial("fuzz", 9600)
}

fn asker() -> Asker {
    Asker::new(Now::default(), Depth::Quick, facts(), 7)
}

fn partner() -> Partner {
    Partner::new(Now::default(), Depth::Quick, facts(), "ijvGgL".to_owned())
}

/// Both sides of a line test, as each hears the other at first.
fn conversation() -> Vec<Vec<u8>> {
    let (mut asker, mut partner, now) = (asker(), partner(), Now::default());
    let mut said = [Vec::new(), Vec::new()];
    for _ in 0..6 {
        let (mut question, mut answer) = (Vec::new(), Vec::new());
        asker.poll_transmit(now, &mut question);
        partner.handle_input(now, &question);
        partner.poll_transmit(now, &mut answer);
        asker.handle_input(now, &answer);
        said[0].extend(question);
        said[1].extend(answer);
    }
    assert!(said.iter().all(|words| words.contains(&b'<')), "they talk");
    said.into()
}

/// Three answers a turn, each with a sample of the longest, to one who takes none; the memory for them grows by doubling.
const LINE_TEST_HOLDS: usize = 3 * (3 * LINE_TEST_TURNS_MAX as usize) * LINE_TEST_TEXT_MAX as usize;

fn line_tests(bytes: &[u8]) {
    assert!(listen(asker(), bytes) && listen(partner(), bytes), "a line test does not end by itself");
}

#[test]
fn line_tests_of_any_kind_come_to_an_end() {
    let inputs = prop_oneof![1 => any_bytes(600), 3 => mutated(conversation())];
    check(200, inputs, line_tests, LINE_TEST_HOLDS, 256);
}

fn login(bytes: &[u8]) {
    assert!(listen(LoginPrompt::new(Now::default(), Box::new(OneUser)), bytes), "a login does not end by itself");
}

#[test]
fn logins_of_any_kind_come_to_an_end() {
    let said = vec![b"a\rx\r\x10Svillage\0".to_vec(), b"nobody\r\nwrong\r\na\x7fa\rx\r".to_vec()];
    check(300, prop_oneof![1 => any_bytes(300), 2 => mutated(said)], login, 64 * 1024, 64);
}

/// A site that we call and that says what it likes.
fn called(bytes: &[u8]) {
    let calling = Calling {
        name: "village".to_owned(),
        site: SiteName::parse("hub").expect("a name"),
        desk: Shelf::default().desk(),
        protocols: Some("iteyjvGgaf".to_owned()),
        worst: Grade::LEAST,
        sequence: None,
        longest: None,
        test_line: true,
    };
    let session = Session::calling(Now::default(), calling, facts(), SettingsByProtocol::default());
    assert!(listen(session, bytes), "the session does not end by itself");
}

#[test]
fn sites_that_are_called_of_any_kind_come_to_an_end() {
    let hands = |letter: char, bits: &str| format!("\x10Shere=hub\0\x10ROKN{bits}\0\x10P{letter}\0").into_bytes();
    let said = bangpath::proto::PROTOCOLS.iter().flat_map(|entry| {
        let talk = overhear(entry.letter, Quality::clean(9600), 2);
        ["07", "01047"].map(|bits| [hands(entry.letter, bits), talk.clone()].concat())
    });
    let inputs = prop_oneof![1 => any_bytes(400), 3 => mutated(said.collect())];
    check(120, inputs, called, 1024 * 1024, 256);
}
