//! Lines beside the bytes, which ptys do not have: a false line behind the same trait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bangpath::base::time::{Instant, Now};
use bangpath::dialogue::{Dialogue, Facts, Request};
use bangpath::link::{Flow, LineErrors, LineState, Lines, Link, Parity, drive};

#[derive(Clone, Default)]
pub struct FalseLine(pub Arc<Wires>);

#[derive(Default)]
pub struct Wires {
    pub carrier: AtomicBool,
    pub ringing: AtomicBool,
    pub clear_to_send: AtomicBool,
    pub dtr: AtomicBool,
    pub rts: AtomicBool,
    pub in_break: AtomicBool,
    pub breaks: AtomicU32,
    /// The modem is set to keep its carrier when DTR drops.
    stubborn: AtomicBool,
    pub speed: AtomicU32,
    /// Bits of data, and stop bits as tens.
    pub format: AtomicU32,
    pub hardware_flow: AtomicBool,
    pub wrong_parity: AtomicU32,
    pub unsent: AtomicUsize,
}

impl Lines for FalseLine {
    fn carrier(&self) -> Option<bool> {
        Some(self.0.carrier.load(Ordering::SeqCst))
    }

    fn state(&self) -> Option<LineState> {
        Some(LineState {
            carrier: self.0.carrier.load(Ordering::SeqCst),
            data_set_ready: true,
            clear_to_send: self.0.clear_to_send.load(Ordering::SeqCst),
            ringing: self.0.ringing.load(Ordering::SeqCst),
        })
    }

    fn errors(&self) -> Option<LineErrors> {
        Some(LineErrors { wrong_parity: self.0.wrong_parity.load(Ordering::SeqCst), ..LineErrors::default() })
    }

    fn set_dtr(&self, on: bool) {
        self.0.dtr.store(on, Ordering::SeqCst);
        if !on && !self.0.stubborn.load(Ordering::SeqCst) {
            self.0.carrier.store(false, Ordering::SeqCst);
        }
    }

    fn set_rts(&self, on: bool) {
        self.0.rts.store(on, Ordering::SeqCst);
    }

    fn unsent(&self) -> usize {
        self.0.unsent.load(Ordering::SeqCst)
    }

    fn send_break(&self) {
        self.0.breaks.fetch_add(1, Ordering::SeqCst);
    }

    fn set_break(&self, on: bool) {
        self.0.in_break.store(on, Ordering::SeqCst);
    }

    fn set_speed(&self, bits_per_second: u32) -> bool {
        self.0.speed.store(bits_per_second, Ordering::SeqCst);
        true
    }

    fn set_format(&self, data_bits: u8, parity: Parity, stop_bits: u8) -> bool {
        let possible = parity == Parity::None;
        if possible {
            self.0.format.store(u32::from(data_bits + 10 * stop_bits), Ordering::SeqCst);
        }
        possible
    }

    fn set_flow(&self, flow: Flow) {
        self.0.hardware_flow.store(flow == Flow::RtsCts, Ordering::SeqCst);
    }
}

/// Waits for ever.
struct Patient(bool);

impl Dialogue for Patient {
    type Outcome = &'static str;

    fn handle_input(&mut self, _now: Now, _bytes: &[u8]) {}

    fn handle_timeout(&mut self, _now: Now) {}

    fn handle_hangup(&mut self, _now: Now) {
        self.0 = true;
    }

    fn poll_transmit(&mut self, _now: Now, _out: &mut Vec<u8>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_request(&mut self) -> Option<Request<&'static str>> {
        self.0.then_some(Request::Finish { outcome: "hung up", unread: Vec::new() })
    }
}

/// Hears so many bytes.
struct Hearing(usize, Vec<u8>);

impl Dialogue for Hearing {
    type Outcome = String;

    fn handle_input(&mut self, _now: Now, bytes: &[u8]) {
        self.1.extend_from_slice(bytes);
    }

    fn handle_timeout(&mut self, _now: Now) {}

    fn handle_hangup(&mut self, _now: Now) {
        self.0 = 0;
    }

    fn poll_transmit(&mut self, _now: Now, _out: &mut Vec<u8>) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn poll_request(&mut self) -> Option<Request<String>> {
        let heard = || self.1.escape_ascii().to_string();
        (self.1.len() >= self.0).then(|| Request::Finish { outcome: heard(), unread: Vec::new() })
    }
}

/// The next bytes of a line, so many or a few more; fewer if it ends. What is still missing after half a minute never comes.
pub async fn hear(link: &mut Link, count: usize) -> String {
    let (_keep, mut nudges) = bangpath::call::own_nudges();
    let mut hearing = Hearing(count, Vec::new());
    let driven = drive(link, &mut hearing, &[], &mut nudges, bangpath::daemon::now);
    let heard = tokio::time::timeout(Duration::from_secs(30), driven).await.map(|(heard, ..)| heard);
    heard.unwrap_or_else(|_| panic!("of {count} bytes only these came: {}", hearing.1.escape_ascii()))
}

pub fn line(carrier: bool) -> (FalseLine, Link, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(100);
    let (reader, writer) = tokio::io::split(near);
    let wires = FalseLine::default();
    wires.0.carrier.store(carrier, Ordering::SeqCst);
    let link = Link::new(Facts::serial("false", 9600), reader, writer).with_lines(Box::new(wires.clone()));
    (wires, link, far)
}

pub fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test)
}

#[test]
fn the_loss_of_the_carrier_ends_a_conversation_where_it_is_watched() {
    run(async {
        let (wires, mut link, _far) = line(true);
        link.watch_carrier();
        let (_keep, mut nudges) = bangpath::call::own_nudges();
        let mut patient = Patient(false);
        let talking = drive(&mut link, &mut patient, &[], &mut nudges, bangpath::daemon::now);
        let dropping = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            wires.0.carrier.store(false, Ordering::SeqCst);
        };
        let (outcome, ()) = tokio::join!(talking, dropping);
        assert_eq!(outcome.0, "hung up");
    });
}

#[test]
fn a_line_is_hung_up_by_dtr_and_a_modem_that_does_not_care_is_found_out() {
    run(async {
        let (wires, mut link, _far) = line(true);
        assert!(link.drop_carrier().await, "the carrier is gone");
        assert!(wires.0.dtr.load(Ordering::SeqCst), "the modem is on again");
        let (wires, mut link, _far) = line(true);
        wires.0.stubborn.store(true, Ordering::SeqCst);
        assert!(!link.drop_carrier().await, "it has to be told by its escape");
        link.set_speed(2400);
        assert_eq!(wires.0.speed.load(Ordering::SeqCst), 2400);
    });
}

#[test]
fn the_breaks_of_a_chat_reach_the_line() {
    use bangpath::session::chat::{Chat, Credentials, Script};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    run(async {
        let (wires, mut link, mut far) = line(true);
        let script = Script::parse("\"\" BREAK ogin: \\K\\L", &[]).expect("a script");
        let credentials = Credentials { login: "ann".to_owned(), password: "secret".to_owned() };
        let mut chat = Chat::new(bangpath::daemon::now(), &script, credentials);
        let (_keep, mut nudges) = bangpath::call::own_nudges();
        let breaks = || wires.0.breaks.load(Ordering::SeqCst);
        let host = async {
            // The speed that it tries is wrong until there is a break.
            while breaks() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            far.write_all(b"login: ").await.expect("it listens");
            let mut heard = [0; 3];
            far.read_exact(&mut heard).await.expect("it talks");
            heard
        };
        let (ended, heard) = tokio::join!(drive(&mut link, &mut chat, &[], &mut nudges, bangpath::daemon::now), host);
        ended.0.expect("the chat succeeds");
        assert_eq!(&heard, b"ann");
        assert_eq!(breaks(), 2);
    });
}
