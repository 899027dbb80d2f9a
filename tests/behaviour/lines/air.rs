//! Two radio modem programs and the air between them: one speaks at a time, and changing takes its time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(3);
/// Bits per second, ten a byte.
const SPEED: u64 = 40_000;
const TURN_ROUND: Duration = Duration::from_millis(60);
/// What goes in one transmission.
const BURST: usize = 400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Vara,
    Ardop,
}

/// Where a program listens.
#[derive(Debug, Clone)]
pub struct Address {
    pub commands: String,
    pub data: String,
}

/// Ends with the test.
pub struct Air {
    pub stations: [Address; 2],
    heard: Arc<Mutex<[Vec<String>; 2]>>,
    connected: Arc<Mutex<bool>>,
    _stop: Sender<()>,
}

impl Air {
    /// `busy`: others use the channel for so long.
    pub fn new(program: Program, busy: Duration) -> Self {
        let stations = [Station::new(program), Station::new(program)];
        let addresses = [stations[0].address(), stations[1].address()];
        let heard = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
        let connected = Arc::new(Mutex::new(false));
        let (stop, stopped) = channel();
        let busy_until = Instant::now() + busy;
        let (state, notes) = (Arc::clone(&connected), Arc::clone(&heard));
        let world = World { stations, link: None, free_at: Instant::now(), busy_until, heard: notes, connected: state };
        std::thread::spawn(move || world.run(&stopped));
        Self { stations: addresses, heard, connected, _stop: stop }
    }

    /// The commands that a station was given.
    pub fn commands(&self, station: usize) -> Vec<String> {
        self.heard.lock().expect("no panic")[station].clone()
    }

    pub fn is_quiet(&self) -> bool {
        !*self.connected.lock().expect("no panic")
    }
}

struct Station {
    program: Program,
    listeners: [TcpListener; 2],
    commands: Option<TcpStream>,
    data: Option<TcpStream>,
    line: Vec<u8>,
    call_sign: String,
    listens: bool,
    /// From the computer, not yet on the air; framed bytes not yet understood.
    transmit: VecDeque<u8>,
    blocks: Vec<u8>,
    ends: bool,
    told_busy: bool,
    /// To the computer.
    received: VecDeque<u8>,
    words: VecDeque<u8>,
}

impl Station {
    fn new(program: Program) -> Self {
        let listen = || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("a mode");
            listener
        };
        Self {
            program,
            listeners: [listen(), listen()],
            commands: None,
            data: None,
            line: Vec::new(),
            call_sign: String::new(),
            listens: false,
            transmit: VecDeque::new(),
            blocks: Vec::new(),
            ends: false,
            told_busy: false,
            received: VecDeque::new(),
            words: VecDeque::new(),
        }
    }

    fn address(&self) -> Address {
        let of = |listener: &TcpListener| listener.local_addr().expect("an address").to_string();
        Address { commands: of(&self.listeners[0]), data: of(&self.listeners[1]) }
    }

    fn say(&mut self, line: &str) {
        self.words.extend(format!("{line}\r").bytes());
    }

    /// One host at a time, as the real ones have it: a new one takes the place of an old one.
    fn accept(&mut self) -> bool {
        let mut new = false;
        for (listener, place) in self.listeners.iter().zip([&mut self.commands, &mut self.data]) {
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true).expect("a mode");
                *place = Some(stream);
                new = true;
            }
        }
        new
    }

    fn read_data(&mut self) {
        let mut buffer = [0; 4096];
        if self.transmit.len() > 8192 {
            return;
        }
        let Some(Ok(count @ 1..)) = self.data.as_mut().map(|stream| stream.read(&mut buffer)) else { return };
        match self.program {
            Program::Vara => self.transmit.extend(&buffer[..count]),
            Program::Ardop => {
                self.blocks.extend_from_slice(&buffer[..count]);
                while let &[high, low, ref rest @ ..] = &self.blocks[..] {
                    let length = usize::from(u16::from_be_bytes([high, low]));
                    if rest.len() < length {
                        break;
                    }
                    self.transmit.extend(&rest[..length]);
                    self.blocks.drain(..2 + length);
                }
            }
        }
        self.tell_buffer();
    }

    fn tell_buffer(&mut self) {
        let line = format!("BUFFER {}", self.transmit.len());
        self.say(&line);
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.program == Program::Ardop {
            self.received.extend(((bytes.len() + 3) as u16).to_be_bytes());
            self.received.extend(b"ARQ");
        }
        self.received.extend(bytes);
    }

    fn flush(&mut self) {
        for (bytes, stream) in [(&mut self.words, &mut self.commands), (&mut self.received, &mut self.data)] {
            let Some(stream) = stream else { continue };
            match stream.write(bytes.make_contiguous()) {
                Ok(count) => drop(bytes.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => bytes.clear(),
            }
        }
    }
}

struct World {
    stations: [Station; 2],
    /// Who sends now, while they are connected.
    link: Option<usize>,
    free_at: Instant,
    busy_until: Instant,
    heard: Arc<Mutex<[Vec<String>; 2]>>,
    connected: Arc<Mutex<bool>>,
}

impl World {
    fn run(mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(STEP) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            for at in 0..2 {
                if self.stations[at].accept() && self.busy_until > Instant::now() {
                    self.stations[at].say("BUSY ON");
                    self.stations[at].told_busy = true;
                }
                if self.stations[at].told_busy && self.busy_until <= Instant::now() {
                    self.stations[at].say("BUSY OFF");
                    self.stations[at].told_busy = false;
                }
                self.hear(at);
                self.stations[at].read_data();
            }
            self.transmit();
            self.stations.iter_mut().for_each(Station::flush);
            *self.connected.lock().expect("no panic") = self.link.is_some();
        }
    }

    fn hear(&mut self, at: usize) {
        let mut byte = [0];
        loop {
            match self.stations[at].commands.as_mut().map(|stream| stream.read(&mut byte)) {
                Some(Ok(1)) if byte[0] != b'\r' => self.stations[at].line.push(byte[0]),
                Some(Ok(1)) => {
                    let line = String::from_utf8(std::mem::take(&mut self.stations[at].line)).expect("text");
                    self.heard.lock().expect("no panic")[at].push(line.clone());
                    self.execute(at, &line);
                }
                // The computer has gone: so has its connection.
                Some(Ok(_)) => {
                    self.stations[at].commands = None;
                    self.stations[at].listens = false;
                    return self.end();
                }
                Some(Err(_)) | None => return,
            }
        }
    }

    fn execute(&mut self, at: usize, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let station = &mut self.stations[at];
        match words[..] {
            ["MYCALL", call_sign] => station.call_sign = call_sign.to_owned(),
            ["LISTEN", on] => station.listens = matches!(on, "ON" | "TRUE"),
            ["CONNECT", _, target] | ["ARQCALL", target, _] => return self.call(at, target),
            ["DISCONNECT" | "ABORT"] if self.link.is_some() => station.ends = true,
            ["DISCONNECT" | "ABORT"] => station.say("DISCONNECTED"),
            ["BADLY"] => return station.say("WRONG"),
            _ => {}
        }
        if self.stations[at].program == Program::Vara {
            self.stations[at].say("OK");
        }
    }

    fn call(&mut self, at: usize, target: &str) {
        assert!(self.busy_until <= Instant::now(), "it calls while others use the channel");
        let (other, ours) = (1 - at, self.stations[at].call_sign.clone());
        if !self.stations[other].listens || self.stations[other].call_sign != target {
            return self.stations[at].say("DISCONNECTED");
        }
        let (caller, called) = match self.stations[at].program {
            Program::Vara => (format!("CONNECTED {ours} {target} 500"), format!("CONNECTED {ours} {target} 500")),
            Program::Ardop => (format!("CONNECTED {target} 500"), format!("CONNECTED {ours} 500")),
        };
        self.stations[other].say("PENDING");
        self.stations[other].say(&called);
        self.stations[at].say(&caller);
        self.link = Some(at);
        self.stations.iter_mut().for_each(|station| station.ends = false);
    }

    fn transmit(&mut self) {
        let Some(sender) = self.link else { return };
        if Instant::now() < self.free_at {
            return;
        }
        let other = 1 - sender;
        if !self.stations[sender].transmit.is_empty() {
            let count = self.stations[sender].transmit.len().min(BURST);
            let bytes: Vec<u8> = self.stations[sender].transmit.drain(..count).collect();
            self.stations[sender].tell_buffer();
            self.stations[other].receive(&bytes);
            self.free_at = Instant::now() + Duration::from_micros(count as u64 * 10_000_000 / SPEED);
        } else if !self.stations[other].transmit.is_empty() {
            self.link = Some(other);
            self.free_at = Instant::now() + TURN_ROUND;
        } else if self.stations.iter().any(|station| station.ends) {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.link.take().is_some() {
            self.stations.iter_mut().for_each(|station| {
                station.transmit.clear();
                station.say("DISCONNECTED");
            });
        }
    }
}
