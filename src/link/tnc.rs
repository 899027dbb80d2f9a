//! Radio modem programs with two TCP ports, one for commands and one for data: VARA and ARDOP.
//!
//! From "VARA Protocol Native TNC Commands" (EA5HVK, v4) and "ARDOP Host Interface Specification" (KN6KB and others).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::{Lines, Link, LinkError};
use crate::base::limits::TNC_LINE_MAX;
use crate::dialogue::Facts;

/// How long the program may take to accept us: it may still be closing what we had before.
const REACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long others may occupy the channel before we give up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);
/// From CONNECT to the answer of the far station: VARA calls fifteen times, ARDOP as often as it is told.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(180);
/// How much of what a program tells is heard in one go: one that never stops must not keep us from everything else.
const LINES_AT_ONCE: usize = 100;
/// How often ARDOP calls.
const CALLS: u32 = 10;
/// What one data block to ARDOP may hold: its length has two bytes.
const BLOCK_MAX: usize = 4096;

/// A radio behind such a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TncLine {
    pub dialect: Dialect,
    /// `host:port` of commands, and of data.
    pub commands: String,
    pub data: String,
    /// Our call sign, with its SSID.
    pub call_sign: String,
    /// More commands before every use, such as `BW500`.
    pub setup: Vec<String>,
    /// Bits per second, for timers until the program tells what is unsent.
    pub speed: u32,
}

/// How a program is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Vara,
    Ardop,
}

impl Dialect {
    /// What makes the program ours.
    fn greeting(self, call_sign: &str) -> Vec<String> {
        match self {
            Self::Vara => vec![format!("MYCALL {call_sign}"), "COMPRESSION OFF".to_owned()],
            Self::Ardop => {
                vec!["INITIALIZE".to_owned(), format!("MYCALL {call_sign}"), "PROTOCOLMODE ARQ".to_owned()]
            }
        }
    }

    fn listen(self, on: bool) -> &'static str {
        match (self, on) {
            (Self::Vara, true) => "LISTEN ON",
            (Self::Vara, false) => "LISTEN OFF",
            (Self::Ardop, true) => "LISTEN TRUE",
            (Self::Ardop, false) => "LISTEN FALSE",
        }
    }

    fn connect(self, ours: &str, theirs: &str) -> String {
        match self {
            Self::Vara => format!("CONNECT {ours} {theirs}"),
            Self::Ardop => format!("ARQCALL {theirs} {CALLS}"),
        }
    }
}

/// What the program has told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    /// With whom: the line itself.
    Connected(String),
    Disconnected,
    /// Bytes that have not left the radio.
    Buffer(usize),
    Busy(bool),
    Trouble(String),
    Other,
}

/// Reads one line of either program; their words do not contradict each other.
fn read(line: &str) -> Told {
    let mut words = line.split_ascii_whitespace();
    match (words.next().unwrap_or(""), words.next()) {
        ("CONNECTED", Some(_)) => Told::Connected(line.to_owned()),
        ("DISCONNECTED", _) | ("NEWSTATE", Some("DISC")) => Told::Disconnected,
        ("BUFFER", Some(count)) => count.parse().map_or(Told::Other, Told::Buffer),
        ("BUSY", Some("ON" | "TRUE")) => Told::Busy(true),
        ("BUSY", Some("OFF" | "FALSE")) => Told::Busy(false),
        ("WRONG" | "FAULT" | "REJECTEDBUSY" | "REJECTEDBW" | "MISSING", _) => Told::Trouble(line.to_owned()),
        ("STATUS", _) if line.contains("FAILED") => Told::Trouble(line.to_owned()),
        _ => Told::Other,
    }
}

/// The command side, shared between the streams and who asks after the line.
struct Control {
    stream: TcpStream,
    line: Mutex<Vec<u8>>,
    connected: AtomicBool,
    busy: AtomicBool,
    unsent: AtomicUsize,
}

impl Control {
    /// A command is small and the socket of a program that listens takes it; one that does not will show.
    fn say(&self, command: &str) {
        tracing::debug!(command, "tnc >");
        if let Err(error) = self.stream.try_write(format!("{command}\r").as_bytes()) {
            tracing::warn!(command, %error, "the modem program does not take a command");
        }
    }

    /// Reads what is there, to the first line that says something. `None`: no more for now.
    fn next(&self) -> io::Result<Option<Told>> {
        let mut line = self.line.lock().expect("nothing panics while it is locked");
        for _ in 0..=TNC_LINE_MAX {
            let mut byte = [0];
            match self.stream.try_read(&mut byte) {
                Ok(0) => {
                    self.connected.store(false, Ordering::SeqCst);
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(_) if matches!(byte[0], b'\r' | b'\n') => {
                    let text = String::from_utf8_lossy(&std::mem::take(&mut *line)).trim().to_owned();
                    if text.is_empty() {
                        continue;
                    }
                    tracing::debug!(line = text, "tnc <");
                    let told = read(&text);
                    self.note(&told);
                    return Ok(Some(told));
                }
                Ok(_) if line.len() < TNC_LINE_MAX => line.push(byte[0]),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(Told::Other))
    }

    fn note(&self, told: &Told) {
        match told {
            Told::Connected(_) => self.connected.store(true, Ordering::SeqCst),
            Told::Disconnected => self.connected.store(false, Ordering::SeqCst),
            Told::Buffer(count) => self.unsent.store(*count, Ordering::SeqCst),
            Told::Busy(busy) => self.busy.store(*busy, Ordering::SeqCst),
            Told::Trouble(_) | Told::Other => {}
        }
    }

    /// Everything that has been told up to now.
    fn catch_up(&self) {
        for _ in 0..LINES_AT_ONCE {
            if !matches!(self.next(), Ok(Some(_))) {
                return;
            }
        }
    }

    async fn told(&self) -> io::Result<Told> {
        loop {
            tokio::task::yield_now().await;
            match self.next()? {
                Some(Told::Other) => {}
                Some(told) => return Ok(told),
                None => self.stream.readable().await?,
            }
        }
    }
}

/// A program that has been reached and knows our call sign.
pub struct Tnc {
    line: TncLine,
    control: Arc<Control>,
    data: TcpStream,
}

impl Tnc {
    pub async fn reach(line: &TncLine) -> Result<Self, LinkError> {
        let (commands, data) = (open(&line.commands).await?, open(&line.data).await?);
        let control = Arc::new(Control {
            stream: commands,
            line: Mutex::default(),
            connected: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            unsent: AtomicUsize::new(0),
        });
        let ready = control.stream.writable().await;
        ready.map_err(|source| LinkError::Connect { address: line.commands.clone(), source })?;
        for command in line.dialect.greeting(&line.call_sign).iter().chain(&line.setup) {
            control.say(command);
        }
        Ok(Self { line: line.clone(), control, data })
    }

    fn refused(&self, why: impl Into<String>) -> LinkError {
        LinkError::Radio { address: self.line.commands.clone(), why: why.into() }
    }

    /// Calls a station, when the channel is free.
    pub async fn call(self, station: &str) -> Result<Link, LinkError> {
        self.control.say(self.line.dialect.listen(false));
        self.wait_until_free().await?;
        self.discard().map_err(|source| self.lost(source))?;
        self.control.say(&self.line.dialect.connect(&self.line.call_sign, station));
        match tokio::time::timeout(CONNECT_TIMEOUT, self.connected(true)).await {
            Ok(result) => result?,
            Err(_) => {
                self.control.say("ABORT");
                return Err(self.refused(format!("{station} does not answer")));
            }
        };
        Ok(self.link(station.to_owned()))
    }

    /// Waits for a station to call us. May be dropped at any time: then nobody has.
    pub async fn listen(self) -> Result<Link, LinkError> {
        self.control.say(self.line.dialect.listen(true));
        let line = self.connected(false).await?;
        // Who calls says nothing before it has heard of us.
        self.discard().map_err(|source| self.lost(source))?;
        // VARA names caller and called, ARDOP only the other.
        let ours = self.line.call_sign.as_str();
        let other = line.split_ascii_whitespace().skip(1).find(|word| *word != ours).unwrap_or("a station").to_owned();
        Ok(self.link(other))
    }

    /// We do not speak while others do: the program tells.
    async fn wait_until_free(&self) -> Result<(), LinkError> {
        // What it says on its own comes with its greeting.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.control.catch_up();
        let free = async {
            while self.control.busy.load(Ordering::SeqCst) {
                self.control.told().await?;
            }
            io::Result::Ok(())
        };
        match tokio::time::timeout(BUSY_TIMEOUT, free).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.lost(source)),
            Err(_) => Err(self.refused("others use the channel")),
        }
    }

    /// What is told next. Data that comes before a connection is of an earlier one, and thrown away.
    async fn told(&self) -> io::Result<Told> {
        loop {
            // Where both sides never stop, something is always ready: others must have their turn.
            tokio::task::yield_now().await;
            tokio::select! {
                biased;
                told = self.control.told() => return told,
                readable = self.data.readable() => readable?,
            }
            // What was told before these bytes came counts first: they may be of the connection that we wait for.
            match self.control.next()? {
                Some(Told::Other) => continue,
                Some(told) => return Ok(told),
                None => {}
            }
            self.discard()?;
        }
    }

    /// Throws away the data that is there.
    fn discard(&self) -> io::Result<()> {
        for _ in 0..LINES_AT_ONCE {
            match self.data.try_read(&mut [0; BLOCK_MAX]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn lost(&self, source: io::Error) -> LinkError {
        LinkError::Connect { address: self.line.commands.clone(), source }
    }

    async fn connected(&self, calling: bool) -> Result<String, LinkError> {
        loop {
            match self.told().await {
                Ok(Told::Connected(line)) => return Ok(line),
                Ok(Told::Disconnected) if calling => return Err(self.refused("no connection")),
                Ok(Told::Trouble(line)) if calling || !line.starts_with("REJECTED") => return Err(self.refused(line)),
                Ok(_) => {}
                Err(source) => return Err(self.lost(source)),
            }
        }
    }

    fn link(self, peer: String) -> Link {
        let facts = Facts {
            eight_bit: true,
            transparent: true,
            // The programs repeat what is lost between them, but know nothing of what is behind their sockets.
            reliable: true,
            end_to_end: false,
            full_duplex: false,
            speed: Some(self.line.speed),
            round_trip: None,
            errors: None,
            peer_is_ours: false,
            peer,
        };
        let (reader, writer) = self.data.into_split();
        let framed = self.line.dialect == Dialect::Ardop;
        let reader =
            TncReader { stream: reader, control: Arc::clone(&self.control), frame: framed.then(Frame::default) };
        let writer =
            TncWriter { stream: writer, control: Arc::clone(&self.control), framed, head: Vec::new(), left: 0 };
        let mut link = Link::new(facts, reader, writer).with_lines(Box::new(TncLines(self.control)));
        link.watch_carrier();
        link
    }
}

async fn open(address: &str) -> Result<TcpStream, LinkError> {
    let stream = match tokio::time::timeout(REACH_TIMEOUT, TcpStream::connect(address)).await {
        Ok(stream) => stream.map_err(|source| LinkError::Connect { address: address.to_owned(), source })?,
        Err(_) => return Err(LinkError::Silence { address: address.to_owned(), waited: REACH_TIMEOUT }),
    };
    // Failing that small commands wait a little.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The radio link as modem lines: its connection is the carrier, hanging up is `DISCONNECT`.
struct TncLines(Arc<Control>);

impl Lines for TncLines {
    fn carrier(&self) -> Option<bool> {
        self.0.catch_up();
        Some(self.0.connected.load(Ordering::SeqCst))
    }

    fn set_dtr(&self, on: bool) {
        if !on && self.0.connected.load(Ordering::SeqCst) {
            self.0.say("DISCONNECT");
        }
    }

    fn unsent(&self) -> usize {
        self.0.catch_up();
        self.0.unsent.load(Ordering::SeqCst)
    }

    fn send_break(&self) {}

    fn set_speed(&self, _bits_per_second: u32) -> bool {
        false
    }
}

/// Where in a data block of ARDOP we are: two bytes of length, three of its kind, then so many.
#[derive(Default)]
struct Frame {
    head: Vec<u8>,
    left: usize,
    /// Data of the connection; other kinds are talk of the channel.
    wanted: bool,
}

struct TncReader {
    stream: OwnedReadHalf,
    control: Arc<Control>,
    frame: Option<Frame>,
}

impl AsyncRead for TncReader {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Registered for what the program tells, so that the end of the connection wakes the reader.
        let mut taken = 0;
        while this.control.stream.poll_read_ready(context).is_ready() {
            if taken == LINES_AT_ONCE {
                context.waker().wake_by_ref();
                break;
            }
            taken += 1;
            if this.control.next().is_err() {
                break;
            }
        }
        let polled = match &mut this.frame {
            None => Pin::new(&mut this.stream).poll_read(context, buffer),
            Some(frame) => poll_frame(&mut this.stream, frame, context, buffer),
        };
        match polled {
            // What came before the end has been read.
            Poll::Pending if !this.control.connected.load(Ordering::SeqCst) => Poll::Ready(Ok(())),
            polled => polled,
        }
    }
}

fn poll_frame(
    stream: &mut OwnedReadHalf,
    frame: &mut Frame,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    loop {
        let mut space = [0; 1024];
        let head_left = 5 - frame.head.len();
        let most = if head_left > 0 { head_left } else { frame.left.min(buffer.remaining()).min(space.len()) };
        let mut piece = ReadBuf::new(&mut space[..most]);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut piece))?;
        let bytes = piece.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if head_left > 0 {
            frame.head.extend_from_slice(bytes);
            if let &[high, low, ref kind @ ..] = &frame.head[..]
                && kind.len() == 3
            {
                frame.left = usize::from(u16::from_be_bytes([high, low])).saturating_sub(3);
                frame.wanted = kind == b"ARQ";
            }
        } else {
            frame.left -= bytes.len();
            if frame.wanted {
                buffer.put_slice(bytes);
            }
        }
        if frame.head.len() == 5 && frame.left == 0 {
            frame.head.clear();
        }
        if !buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
}

struct TncWriter {
    stream: OwnedWriteHalf,
    control: Arc<Control>,
    framed: bool,
    /// Of a block's length what has not gone, then so many bytes of data.
    head: Vec<u8>,
    left: usize,
}

impl AsyncWrite for TncWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if this.framed && this.left == 0 && this.head.is_empty() {
            this.left = bytes.len().min(BLOCK_MAX);
            this.head = (this.left as u16).to_be_bytes().to_vec();
        }
        while !this.head.is_empty() {
            let count = ready!(Pin::new(&mut this.stream).poll_write(context, &this.head))?;
            this.head.drain(..count);
        }
        let most = if this.framed { this.left.min(bytes.len()) } else { bytes.len() };
        let count = ready!(Pin::new(&mut this.stream).poll_write(context, &bytes[..most]))?;
        this.left = this.left.saturating_sub(count);
        // Until the program tells how much it really has.
        this.control.unsent.fetch_add(count, Ordering::SeqCst);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_are_understood() {
        let check = |line: &str, told: Told| assert_eq!(read(line), told, "{line}");
        check("CONNECTED EA5HVK-1 K1ABC 500", Told::Connected("CONNECTED EA5HVK-1 K1ABC 500".to_owned()));
        check("CONNECTED K1ABC 2000", Told::Connected("CONNECTED K1ABC 2000".to_owned()));
        check("DISCONNECTED", Told::Disconnected);
        check("NEWSTATE DISC", Told::Disconnected);
        check("NEWSTATE ISS", Told::Other);
        check("BUFFER 1200", Told::Buffer(1200));
        check("BUFFER", Told::Other);
        check("BUSY ON", Told::Busy(true));
        check("BUSY FALSE", Told::Busy(false));
        check("PTT ON", Told::Other);
        check("IAMALIVE", Told::Other);
        check("STATUS CONNECT TO K1ABC FAILED!", Told::Trouble("STATUS CONNECT TO K1ABC FAILED!".to_owned()));
        check("", Told::Other);
    }

    #[test]
    fn a_program_that_never_stops_on_either_side_keeps_us_from_nothing() {
        use std::io::Write;

        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let flood = move || {
            let (mut side, _) = listener.accept().expect("a client");
            std::thread::spawn(move || while side.write_all(&[b'x'; 4096]).is_ok() {});
            listener
        };
        std::thread::spawn(move || {
            let listener = flood();
            let (mut side, _) = listener.accept().expect("a client");
            while side.write_all(&[b'y'; 4096]).is_ok() {}
        });
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let (commands, data) = (address.clone(), address);
            let call_sign = "N0CALL".to_owned();
            let line = TncLine { commands, data, dialect: Dialect::Vara, call_sign, setup: Vec::new(), speed: 1200 };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let tnc = Tnc::reach(&line).await.expect("it is there");
                let waiting = tokio::time::timeout(Duration::from_millis(300), tnc.listen()).await;
                ended.send(waiting.is_err()).expect("somebody waits");
            });
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Ok(true), "nothing else has its turn");
    }

    #[test]
    fn no_byte_of_one_connection_reaches_the_next() {
        use std::io::{Read, Write};
        use tokio::io::AsyncReadExt;

        const STALE: &[u8] = b"\x00\x0aARQstaleand a block that ends nowhere";
        let check = |dialect, calling: bool, fresh: &'static [u8]| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let program = std::thread::spawn(move || {
                let (mut commands, _) = listener.accept().expect("commands");
                let (mut data, _) = listener.accept().expect("data");
                // It had them when nobody was there to take them.
                data.write_all(STALE).expect("it listens");
                let mut heard = String::new();
                let mut byte = [0];
                while !["CONNECT N0CALL", "ARQCALL K1ABC", "LISTEN ON", "LISTEN TRUE"].iter().any(|w| heard.contains(w))
                {
                    commands.read_exact(&mut byte).expect("it talks");
                    heard.push(char::from(byte[0]));
                }
                commands.write_all(b"CONNECTED K1ABC 500\r").expect("it listens");
                // As long as a caller waits for our first word, and more than a station takes to say its own.
                std::thread::sleep(Duration::from_millis(50));
                data.write_all(fresh).expect("it listens");
                (commands, data)
            });
            let (commands, data) = (address.clone(), address);
            let call_sign = "N0CALL".to_owned();
            let line = TncLine { commands, data, dialect, call_sign, setup: Vec::new(), speed: 1200 };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let heard = runtime.block_on(async {
                let tnc = Tnc::reach(&line).await.expect("it is there");
                let link = if calling { tnc.call("K1ABC").await } else { tnc.listen().await };
                let mut heard = [0; 5];
                link.expect("a connection").reader.read_exact(&mut heard).await.expect("it talks");
                heard
            });
            assert_eq!(heard.escape_ascii().to_string(), "fresh", "{dialect:?} {calling}");
            drop(program.join().expect("no panic"));
        };
        for calling in [true, false] {
            check(Dialect::Vara, calling, b"fresh");
            check(Dialect::Ardop, calling, b"\x00\x08ARQfresh");
        }
    }

    #[test]
    fn a_program_that_never_stops_talking_does_not_stop_the_clock() {
        use std::io::Write;

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        for talk in ["OK\r", "BUSY ON\r", "x"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address").to_string();
            let program = std::thread::spawn(move || {
                let (mut commands, _) = listener.accept().expect("commands");
                let _data = listener.accept().expect("data");
                while commands.write_all(talk.repeat(10_000).as_bytes()).is_ok() {}
            });
            let (commands, data) = (address.clone(), address);
            let call_sign = "N0CALL".to_owned();
            let line = TncLine { commands, data, dialect: Dialect::Vara, call_sign, setup: Vec::new(), speed: 1200 };
            let limit = Duration::from_millis(300);
            let called = runtime.block_on(async {
                tokio::time::timeout(limit, async { Tnc::reach(&line).await?.call("K1ABC").await }).await
            });
            assert!(called.is_err(), "{talk}: nobody has answered");
            program.join().expect("it ends with the line");
        }
    }
}
