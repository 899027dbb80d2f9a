//! What the client of a lent line asks of it (RFC 2217) and is told of it, with the modem lines that a pty lacks.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bangpath::dialogue::Facts;
use bangpath::link::{CarrierLine, Flow, Link, Parity, Place, SerialLine, lend, open_serial};
use nix::sys::termios::{self, InputFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::carrier::{FalseLine, line};
use super::exchange::raw_pty;

const SET_DATASIZE: u8 = 2;
const SET_PARITY: u8 = 3;
const SET_CONTROL: u8 = 5;
const ASK_LINESTATE: u8 = 6;
const SUSPEND: u8 = 8;
const RESUME: u8 = 9;
const SET_LINESTATE_MASK: u8 = 10;
const SET_MODEMSTATE_MASK: u8 = 11;
const NOTIFY_LINESTATE: u8 = 106;
const NOTIFY_MODEMSTATE: u8 = 107;
/// What a server adds to a request that it answers.
const TOLD: u8 = 100;

/// One message of RFC 2217.
fn message(code: u8, value: &[u8]) -> Vec<u8> {
    [&[255, 250, 44, code], value, &[255, 240]].concat()
}

struct Client {
    stream: DuplexStream,
    lending: JoinHandle<()>,
}

impl Client {
    /// A client that has said that it will set the line.
    async fn of(line: Link) -> Self {
        let (near, stream) = tokio::io::duplex(1000);
        let (reader, writer) = tokio::io::split(near);
        let link = Link::new(Facts::stream("client"), reader, writer);
        let lending = tokio::spawn(async { lend(link, line).await.expect("it is lent") });
        let mut client = Self { stream, lending };
        client.say(&[255, 251, 44]).await;
        let heard = client.hear().await;
        assert!(heard.starts_with(&[255, 251, 3, 255, 253, 3, 255, 251, 0, 255, 253, 0, 255, 253, 44]), "{heard:?}");
        client
    }

    async fn say(&mut self, words: &[u8]) {
        self.stream.write_all(words).await.expect("it listens");
    }

    /// What comes within a second of a clock that does not wait.
    async fn hear(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        let end = tokio::time::Instant::now() + Duration::from_secs(1);
        while let Ok(read) = tokio::time::timeout_at(end, self.stream.read_buf(&mut heard)).await {
            assert_ne!(read.expect("it talks"), 0, "it has hung up");
        }
        heard
    }

    /// Asks for something, and hears exactly this.
    async fn check(&mut self, code: u8, value: &[u8], heard: &[u8]) {
        self.say(&message(code, value)).await;
        assert_eq!(self.hear().await, heard, "{code} {value:?}");
    }

    /// Asks for something, and hears that it is so.
    async fn set(&mut self, code: u8, value: u8) {
        self.check(code, &[value], &message(code + TOLD, &[value])).await;
    }

    /// Hangs up, and sees the line given back.
    async fn go(self) {
        drop(self.stream);
        self.lending.await.expect("it ends");
    }
}

async fn lent() -> (FalseLine, Client, DuplexStream) {
    let (wires, link, far) = line(false);
    (wires, Client::of(link).await, far)
}

fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("a runtime").block_on(test);
}

#[test]
fn what_a_client_asks_of_a_lent_line_reaches_it() {
    run(async {
        let (line, mut client, _far) = lent().await;
        let wires = &line.0;
        for (lowered, raised, wire) in [(9, 8, &wires.dtr), (12, 11, &wires.rts), (6, 5, &wires.in_break)] {
            for (value, on) in [(raised, true), (lowered, false), (raised, true), (lowered, false)] {
                client.set(SET_CONTROL, value).await;
                assert_eq!(wire.load(Ordering::SeqCst), on, "{value}");
            }
        }
        client.set(SET_CONTROL, 3).await;
        assert!(wires.hardware_flow.load(Ordering::SeqCst));
        client.set(SET_CONTROL, 1).await;
        assert!(!wires.hardware_flow.load(Ordering::SeqCst));
        client.check(1, &[0, 0, 9, 96], &message(101, &[0, 0, 9, 96])).await;
        assert_eq!(wires.speed.load(Ordering::SeqCst), 2400);
        client.set(SET_DATASIZE, 7).await;
        client.check(SET_PARITY, &[3], &message(SET_PARITY + TOLD, &[1])).await;
        assert_eq!(wires.format.load(Ordering::SeqCst), 17, "even parity this line has not");
    });
}

#[test]
fn a_client_is_told_of_the_modem_lines_that_it_wants_to_hear_of() {
    run(async {
        let (line, mut client, _far) = lent().await;
        let wires = &line.0;
        let told = |value: u8| message(NOTIFY_MODEMSTATE, &[value]);
        wires.carrier.store(true, Ordering::SeqCst);
        assert_eq!(client.hear().await, told(0xa8));
        assert_eq!(client.hear().await, b"", "once");
        wires.clear_to_send.store(true, Ordering::SeqCst);
        assert_eq!(client.hear().await, told(0xb1));
        // Of a ring the end is a change, its beginning is not.
        wires.ringing.store(true, Ordering::SeqCst);
        assert_eq!(client.hear().await, told(0xf0));
        wires.ringing.store(false, Ordering::SeqCst);
        assert_eq!(client.hear().await, told(0xb4));
        client.set(SET_MODEMSTATE_MASK, 0x80).await;
        wires.clear_to_send.store(false, Ordering::SeqCst);
        assert_eq!(client.hear().await, b"", "it does not want to hear of that");
        wires.carrier.store(false, Ordering::SeqCst);
        assert_eq!(client.hear().await, told(0));
        client.set(SET_MODEMSTATE_MASK, 0).await;
        wires.carrier.store(true, Ordering::SeqCst);
        assert_eq!(client.hear().await, b"");
        client.check(7, &[], &told(0xa0)).await;
    });
}

#[test]
fn a_client_is_told_of_damage_and_of_room_on_the_line_once_it_wants_to_hear_of_them() {
    run(async {
        let (line, mut client, _far) = lent().await;
        let wires = &line.0;
        let damage = || wires.wrong_parity.fetch_add(1, Ordering::SeqCst);
        damage();
        assert_eq!(client.hear().await, b"", "nobody has asked");
        client.set(SET_LINESTATE_MASK, 0x1e).await;
        assert_eq!(client.hear().await, b"", "it was before");
        damage();
        assert_eq!(client.hear().await, message(NOTIFY_LINESTATE, &[4]));
        wires.unsent.store(10, Ordering::SeqCst);
        client.set(SET_LINESTATE_MASK, 0x40).await;
        client.check(ASK_LINESTATE, &[], &message(NOTIFY_LINESTATE, &[0])).await;
        damage();
        assert_eq!(client.hear().await, b"");
        wires.unsent.store(0, Ordering::SeqCst);
        assert_eq!(client.hear().await, message(NOTIFY_LINESTATE, &[0x40]));
        client.check(ASK_LINESTATE, &[], &message(NOTIFY_LINESTATE, &[0x60])).await;
    });
}

#[test]
fn a_client_without_room_hears_neither_data_nor_news_until_it_has() {
    run(async {
        let (line, mut client, mut far) = lent().await;
        client.check(SUSPEND, &[], b"").await;
        far.write_all(b"hello").await.expect("it listens");
        line.0.carrier.store(true, Ordering::SeqCst);
        client.check(SET_CONTROL, &[11], b"").await;
        assert!(line.0.rts.load(Ordering::SeqCst), "it is heard all the same");
        let late = [message(SET_CONTROL + TOLD, &[11]), b"hello".to_vec(), message(NOTIFY_MODEMSTATE, &[0xa8])];
        client.check(RESUME, &[], &late.concat()).await;
        // However much it asks meanwhile, it can still end that.
        client.check(SUSPEND, &[], b"").await;
        for _ in 0..2000 {
            client.say(&message(SET_CONTROL, &[7])).await;
        }
        client.say(&message(RESUME, &[])).await;
        assert!(client.hear().await.starts_with(&message(SET_CONTROL + TOLD, &[8])));
    });
}

#[test]
fn a_client_that_goes_leaves_the_line_as_it_was() {
    run(async {
        let (line, mut client, _far) = lent().await;
        client.set(SET_CONTROL, 5).await;
        client.set(SET_CONTROL, 12).await;
        client.go().await;
        assert!(!line.0.in_break.load(Ordering::SeqCst) && line.0.rts.load(Ordering::SeqCst));

        let (device, slave, _master) = raw_pty();
        let mut client = Client::of(open_serial(&port(&device)).await.expect("a port")).await;
        let xon = || termios::tcgetattr(&slave).expect("a terminal").input_flags.contains(InputFlags::IXON);
        assert!(!xon());
        client.set(SET_CONTROL, 2).await;
        assert!(xon());
        client.go().await;
        assert!(!xon());
    });
}

fn port(device: &Path) -> SerialLine {
    SerialLine {
        place: Place::Device { path: device.to_owned(), locks: None },
        speed: 9600,
        parity: Parity::None,
        flow: Flow::None,
        carrier: CarrierLine::Dcd,
    }
}
