//! Serial ports at a server on the network (RFC 2217): set, watched and hung up as our own are.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::rfc2217::{
    BREAK_OFF, BREAK_ON, CARRIER, CARRIER_CHANGED, DATA_SET_CHANGED, DATA_SET_READY, DTR_OFF, DTR_ON, FLOW_NONE,
    FLOW_RTS_CTS, FLOW_XON_XOFF, FLOWCONTROL_RESUME, FLOWCONTROL_SUSPEND, NOTIFY_MODEMSTATE, PARITY_EVEN, PARITY_NONE,
    PARITY_ODD, PURGE_BOTH, PURGE_DATA, SET_BAUDRATE, SET_CONTROL, SET_DATASIZE, SET_MODEMSTATE_MASK, SET_PARITY,
    SET_STOPSIZE, TOLD,
};
use super::serial::{CarrierLine, Flow, Lines, Parity, SerialLine};
use super::telnet::{Speaks, Telnet};
use super::{Link, LinkError, net};

/// How long a server may take to say what it is, and to set its port.
const SETTING_TIMEOUT: Duration = Duration::from_secs(15);
/// How often a server is asked whether it is still there, and how long it may take to answer.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(60);
/// How long the last request may take to leave.
const LAST_REQUEST: Duration = Duration::from_secs(2);

/// What the server of a serial port has told.
#[derive(Debug, Default)]
pub(super) struct SerialServer {
    /// The modem lines; `None` until it has said.
    modem: Option<u8>,
    /// What it has set, by the number of the request.
    set: [Option<u32>; 5],
    /// It has no room: nothing may be sent.
    pub suspended: bool,
    /// A break has been asked for, and its end not yet.
    pub in_break: bool,
}

impl SerialServer {
    /// Takes one message of the server's: a number and its value.
    pub fn handle(&mut self, told: &[u8]) {
        let Some((code, value)) = told.split_first() else { return };
        match (*code, value) {
            (NOTIFY_MODEMSTATE, [state, ..]) => self.modem = Some(*state),
            (FLOWCONTROL_SUSPEND, _) => self.suspended = true,
            (FLOWCONTROL_RESUME, _) => self.suspended = false,
            (code, value) if value.len() <= 4 => {
                if let Some(set) = self.set.get_mut(usize::from(code.wrapping_sub(TOLD))) {
                    *set = Some(value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)));
                }
            }
            _ => {}
        }
    }
}

/// Opens a port at a server: connected, set, and DTR raised.
pub(super) async fn open(line: &SerialLine, address: &str) -> Result<Link, LinkError> {
    let no_server = |why: &str| LinkError::SerialServer { address: address.to_owned(), why: why.to_owned() };
    let mut link = net::connect(address).await?.over_telnet(Speaks::Telnet);
    let telnet = Arc::clone(link.telnet.as_ref().expect("it has been put over telnet"));
    lock(&telnet).offer_serial();
    if !told(&mut link, address, Telnet::has_serial).await? {
        return Err(no_server("it knows nothing of serial ports (RFC 2217)"));
    }
    let wanted = settings(line);
    {
        let mut telnet = lock(&telnet);
        // No byte of an earlier session reaches this one: what is not thrown away there comes before the answers to what
        // follows, and is thrown away here.
        telnet.request(PURGE_DATA, &[PURGE_BOTH]);
        telnet.request(SET_BAUDRATE, &line.speed.to_be_bytes());
        for (code, value) in &wanted[1..] {
            telnet.request(*code, &[u8::try_from(*value).expect("all but the speed are small")]);
        }
        let flow = match line.flow {
            Flow::None => FLOW_NONE,
            Flow::RtsCts => FLOW_RTS_CTS,
            Flow::XonXoff => FLOW_XON_XOFF,
        };
        telnet.request(SET_CONTROL, &[flow]);
        let changed = match line.carrier {
            CarrierLine::Dcd => CARRIER_CHANGED,
            CarrierLine::Dsr => DATA_SET_CHANGED,
        };
        telnet.request(SET_MODEMSTATE_MASK, &[bit(line.carrier) | changed]);
        telnet.request(SET_CONTROL, &[DTR_ON]);
    }
    for (code, value) in wanted {
        let is = told(&mut link, address, |telnet| telnet.serial.set[usize::from(code)]).await?;
        if is != value {
            let what = ["", "the speed", "the data bits", "the parity", "the stop bits"][usize::from(code)];
            return Err(no_server(&format!("it set {what} to {is} instead of {value}")));
        }
    }
    link.facts = line.facts(address);
    Ok(link.with_lines(Box::new(FarLines(telnet, line.carrier))))
}

/// The bit of a modem state that stands for the carrier.
fn bit(line: CarrierLine) -> u8 {
    match line {
        CarrierLine::Dcd => CARRIER,
        CarrierLine::Dsr => DATA_SET_READY,
    }
}

fn settings(line: &SerialLine) -> [(u8, u32); 4] {
    let (bits, parity) = match line.parity {
        Parity::None => (8, PARITY_NONE),
        Parity::Odd => (7, PARITY_ODD),
        Parity::Even => (7, PARITY_EVEN),
    };
    [(SET_BAUDRATE, line.speed), (SET_DATASIZE, bits), (SET_PARITY, parity.into()), (SET_STOPSIZE, 1)]
}

/// What the server tells, when it does. What the line says meanwhile is of an earlier session.
async fn told<T>(link: &mut Link, address: &str, look: impl Fn(&Telnet) -> Option<T>) -> Result<T, LinkError> {
    let telnet = Arc::clone(link.telnet.as_ref().expect("it has been put over telnet"));
    let listening = std::future::poll_fn(|cx| {
        let mut bytes = [0; 256];
        let mut buffer = ReadBuf::new(&mut bytes);
        // A read ends only with data, which is not what we wait for: after each step we look what it has brought.
        loop {
            buffer.clear();
            let read = Pin::new(&mut link.reader).poll_read(cx, &mut buffer)?;
            if let Some(found) = look(&lock(&telnet)) {
                return Poll::Ready(Ok(found));
            }
            ready!(read);
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            let said = String::from_utf8_lossy(buffer.filled());
            tracing::debug!(address, said = %said.escape_debug(), "serial server");
        }
    });
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let why = match tokio::time::timeout(SETTING_TIMEOUT, listening).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => {
            return Err(LinkError::SerialServerBusy(address.to_owned()));
        }
        Ok(Err(error)) => error.to_string(),
        Err(_elapsed) => format!("no answer to settings within {} s", SETTING_TIMEOUT.as_secs()),
    };
    Err(LinkError::SerialServer { address: address.to_owned(), why })
}

/// What the line says, when it does. A server that has gone without a word is missed: an idle connection would never tell.
pub(super) async fn heard(
    reader: &mut (impl AsyncRead + Unpin + ?Sized),
    telnet: &Mutex<Telnet>,
    ask_every: Duration,
) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 256];
    loop {
        match tokio::time::timeout(ask_every, reader.read(&mut bytes)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => return read.map(|count| bytes[..count].to_vec()),
            Err(_elapsed) => {}
        }
        let mut telnet = lock(telnet);
        if telnet.serial.set[usize::from(SET_BAUDRATE)].take().is_none() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // A speed of 0 asks for the one that is set (RFC 2217 section 3).
        telnet.request(SET_BAUDRATE, &[0; 4]);
    }
}

/// The lines of a port at a server.
struct FarLines(Arc<Mutex<Telnet>>, CarrierLine);

impl Lines for FarLines {
    fn carrier(&self) -> Option<bool> {
        lock(&self.0).serial.modem.map(|state| state & bit(self.1) != 0)
    }

    fn set_dtr(&self, on: bool) {
        lock(&self.0).request(SET_CONTROL, &[if on { DTR_ON } else { DTR_OFF }]);
    }

    fn unsent(&self) -> usize {
        lock(&self.0).out.len()
    }

    fn send_break(&self) {
        let mut telnet = lock(&self.0);
        telnet.serial.in_break = true;
        telnet.request(SET_CONTROL, &[BREAK_ON]);
    }

    fn set_speed(&self, bits_per_second: u32) -> bool {
        lock(&self.0).request(SET_BAUDRATE, &bits_per_second.to_be_bytes());
        true
    }
}

impl Link {
    /// Hangs up a port at a server; one of ours hangs up when it is closed.
    pub(super) async fn lower_far_dtr(&mut self) {
        if let (Some(_), Some(lines)) = (&self.telnet, &self.lines) {
            lines.set_dtr(false);
            let _ = tokio::time::timeout(LAST_REQUEST, self.writer.flush()).await;
        }
    }
}

pub(super) const END_OF_BREAK: (u8, [u8; 1]) = (SET_CONTROL, [BREAK_OFF]);

/// Nobody panics with it in hand; and if somebody did, its bytes are no worse than a bad line's.
pub(super) fn lock(telnet: &Mutex<Telnet>) -> std::sync::MutexGuard<'_, Telnet> {
    telnet.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::thread::JoinHandle;

    use super::super::serial::Place;
    use super::*;

    const OFFERS: &[u8] = &[255, 251, 3, 255, 253, 3, 255, 251, 0, 255, 253, 0, 255, 251, 44];
    /// Purge; 0x0000_ff00 bits per second, a speed that has to be escaped; seven bits, even, one stop bit; RTS/CTS; carrier;
    /// DTR.
    const SETTINGS: &[u8] = &[
        255, 250, 44, 12, 3, 255, 240, 255, 250, 44, 1, 0, 0, 255, 255, 0, 255, 240, 255, 250, 44, 2, 7, 255, 240, 255,
        250, 44, 3, 3, 255, 240, 255, 250, 44, 4, 1, 255, 240, 255, 250, 44, 5, 3, 255, 240, 255, 250, 44, 11, 0x88,
        255, 240, 255, 250, 44, 5, 8, 255, 240,
    ];
    const SET: &[u8] = &[
        255, 250, 44, 101, 0, 0, 255, 255, 0, 255, 240, 255, 250, 44, 102, 7, 255, 240, 255, 250, 44, 103, 3, 255, 240,
        255, 250, 44, 104, 1, 255, 240,
    ];

    /// A server that wants to hear each of these and then says the other, byte by byte.
    fn server(script: &'static [(&[u8], &[u8])]) -> (SerialLine, JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for (wanted, told) in script {
                let mut heard = vec![0; wanted.len()];
                stream.read_exact(&mut heard).expect("a request");
                assert_eq!(heard, *wanted);
                for byte in *told {
                    stream.write_all(&[*byte]).expect("it listens");
                }
            }
            stream.shutdown(std::net::Shutdown::Write).expect("it is open");
            stream
        });
        let place = Place::Server(address);
        (
            SerialLine { place, speed: 0xff00, parity: Parity::Even, flow: Flow::RtsCts, carrier: CarrierLine::Dcd },
            serving,
        )
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test)
    }

    #[test]
    fn a_port_is_set_watched_and_hung_up_byte_by_byte() {
        const CARRIER_ON: &[u8] = &[255, 250, 44, 107, 0x80, 255, 240, b'h', b'i'];
        const DTR_LOWERED: &[u8] = &[255, 250, 44, 5, 9, 255, 240];
        const CARRIER_LOST: &[u8] = &[b'x', 255, 250, 44, 107, 0x08, 255, 240];
        let (line, serving) = server(&[
            (OFFERS, &[255, 253, 44, b'?']),
            (SETTINGS, SET),
            (b"AT", CARRIER_ON),
            (DTR_LOWERED, CARRIER_LOST),
            (&[255, 250, 44, 5, 8, 255, 240], b""),
            (DTR_LOWERED, b""),
        ]);
        run(async {
            let mut link = super::super::open_serial(&line).await.expect("a port");
            assert!(!link.facts.eight_bit && !link.facts.reliable && link.facts.speed == Some(0xff00));
            assert_eq!(link.lines.as_ref().expect("lines").carrier(), None, "it has not said");
            link.writer.write_all(b"AT").await.expect("sent");
            let mut heard = [0; 2];
            link.reader.read_exact(&mut heard).await.expect("heard");
            assert_eq!(&heard, b"hi");
            assert_eq!(link.lines.as_ref().expect("lines").carrier(), Some(true));
            assert!(link.drop_carrier().await, "the carrier is known to be gone");
            link.close().await;
        });
        let mut rest = Vec::new();
        serving.join().expect("as it should").read_to_end(&mut rest).expect("closed");
        assert_eq!(rest, b"");
    }

    #[test]
    fn dsr_stands_for_the_carrier_where_it_is_said_so() {
        const BY_DSR: &[u8] = &[255, 250, 44, 107, 0x20, 255, 240, b'h'];
        const GONE: &[u8] = &[255, 250, 44, 107, 0x80, 255, 240, b'i'];
        static WANTED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
            let mut settings = SETTINGS.to_vec();
            let at = settings.iter().rposition(|byte| *byte == 0x88).expect("the mask");
            settings[at] = 0x22;
            settings
        });
        let script = vec![(OFFERS, [255, 253, 44].as_slice()), (&WANTED[..], SET), (b"A", BY_DSR), (b"B", GONE)];
        let (line, serving) = server(script.leak());
        let line = SerialLine { carrier: CarrierLine::Dsr, ..line };
        run(async {
            let mut link = super::super::open_serial(&line).await.expect("a port");
            for (asked, there) in [(b"A", true), (b"B", false)] {
                link.writer.write_all(asked).await.expect("sent");
                link.reader.read_u8().await.expect("heard");
                assert_eq!(link.lines.as_ref().expect("lines").carrier(), Some(there));
            }
        });
        serving.join().expect("as it should");
    }

    #[test]
    fn a_break_begins_and_ends() {
        const BREAKS: &[u8] = &[255, 250, 44, 5, 5, 255, 240, 255, 250, 44, 5, 6, 255, 240];
        let (line, serving) = server(&[(OFFERS, &[255, 253, 44]), (SETTINGS, SET), (BREAKS, b"y")]);
        run(async {
            let mut link = super::super::open_serial(&line).await.expect("a port");
            link.lines.as_ref().expect("lines").send_break();
            assert_eq!(link.reader.read_u8().await.expect("heard"), b'y');
        });
        serving.join().expect("as it should");
    }

    #[test]
    fn a_server_that_says_nothing_any_more_is_missed_and_one_that_answers_is_not() {
        const SPEED_ASKED: &[u8] = &[255, 250, 44, 1, 0, 0, 0, 0, 255, 240];
        const SPEED_TOLD: &[u8] = &[255, 250, 44, 101, 0, 0, 255, 255, 0, 255, 240];
        const SILENCE: &[(&[u8], &[u8])] =
            &[(OFFERS, &[255, 253, 44]), (SETTINGS, SET), (SPEED_ASKED, b""), (b"!", b"")];
        const ANSWER: &[(&[u8], &[u8])] = &[(OFFERS, &[255, 253, 44]), (SETTINGS, SET), (SPEED_ASKED, SPEED_TOLD)];
        for (script, rest, expected) in
            [(SILENCE, &b"!"[..], Err(io::ErrorKind::TimedOut)), (ANSWER, b"", Err(io::ErrorKind::UnexpectedEof))]
        {
            let (line, serving) = server(script);
            run(async {
                let mut link = super::super::open_serial(&line).await.expect("a port");
                let telnet = link.telnet.as_ref().expect("it is over telnet");
                let heard = heard(&mut link.reader, telnet, Duration::from_millis(100)).await;
                assert_eq!(heard.map_err(|error| error.kind()), expected);
                link.writer.write_all(rest).await.expect("it listens");
            });
            serving.join().expect("as it should");
        }
    }

    #[test]
    fn what_is_no_serial_server_or_sets_something_else_is_said() {
        let check = |script, why: &str| {
            let (line, serving) = server(script);
            let Err(error) = run(super::super::open_serial(&line)) else { panic!("{why}: it opened") };
            assert!(error.to_string().ends_with(why), "{error}");
            drop(serving.join());
        };
        check(&[(OFFERS, &[255, 254, 44])], "it knows nothing of serial ports (RFC 2217)");
        check(&[(OFFERS, b"Port already in use\r\n")], "it hangs up at once: is the port in use?");
        const SLOW: &[u8] = &[255, 250, 44, 101, 0, 0, 0x25, 0x80, 255, 240];
        check(&[(OFFERS, &[255, 253, 44]), (SETTINGS, SLOW)], "it set the speed to 9600 instead of 65280");
    }

    #[test]
    fn a_server_without_room_is_heeded() {
        let mut server = SerialServer::default();
        for (told, suspended) in [(&[108][..], true), (&[], true), (&[101, 1, 2, 3, 4, 5], true), (&[109], false)] {
            server.handle(told);
            assert_eq!(server.suspended, suspended);
        }
        for code in 0..=255 {
            server.handle(&[code]);
            server.handle(&[code, 255, 255, 255, 255]);
        }
    }
}
