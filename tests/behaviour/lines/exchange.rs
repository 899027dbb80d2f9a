//! A telephone exchange with modems on ptys: AT commands, rings, busy lines, connections that can be cut.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{self, SetArg};

/// Silence around `+++`.
const GUARD: Duration = Duration::from_millis(400);
/// Between rings; six seconds would be true to life.
const RINGS: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(3);
/// S0: rings before it answers by itself, 0 for never. S7: seconds that it waits for the far one.
const REGISTERS: usize = 32;
const REGISTERS_AT_FIRST: [u8; REGISTERS] = {
    let mut registers = [0; REGISTERS];
    registers[2] = b'+';
    registers[3] = b'\r';
    registers[4] = b'\n';
    registers[7] = 50;
    registers
};

/// One modem as its owner set it up.
#[derive(Clone)]
pub struct Setup {
    pub number: &'static str,
    /// What it says when it has a connection.
    pub connect: &'static str,
    /// Off the hook all the time.
    pub busy: bool,
    /// Takes these bytes in a connection, then the connection is lost.
    pub cut_after: Option<u64>,
}

impl Setup {
    pub fn number(number: &'static str) -> Self {
        Self { number, connect: "CONNECT 9600/ARQ", busy: false, cut_after: None }
    }
}

/// A device that passes every byte, what keeps it open, and its other end.
pub fn raw_pty() -> (PathBuf, OwnedFd, OwnedFd) {
    let pty = openpty(None, None).expect("a pty");
    let mut modes = termios::tcgetattr(&pty.slave).expect("a terminal");
    termios::cfmakeraw(&mut modes);
    termios::tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).expect("a terminal");
    (nix::unistd::ttyname(&pty.slave).expect("a name"), pty.slave, pty.master)
}

/// Ends with the test.
pub struct Exchange {
    pub devices: Vec<PathBuf>,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    states: Arc<Mutex<Vec<&'static str>>>,
    _slaves: Vec<OwnedFd>,
    _stop: Sender<()>,
}

impl Exchange {
    pub fn new(setups: &[Setup]) -> Self {
        let (mut modems, mut devices, mut slaves) = (Vec::new(), Vec::new(), Vec::new());
        for setup in setups {
            let (device, slave, master) = raw_pty();
            fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a mode");
            devices.push(device);
            slaves.push(slave);
            modems.push(Modem::new(setup.clone(), master.into()));
        }
        let heard = Arc::new(Mutex::new(vec![Vec::new(); setups.len()]));
        let states = Arc::new(Mutex::new(vec!["command"; setups.len()]));
        let (stop, stopped) = channel();
        let world = World { modems, heard: Arc::clone(&heard), states: Arc::clone(&states) };
        std::thread::spawn(move || world.run(&stopped));
        Self { devices, heard, states, _slaves: slaves, _stop: stop }
    }

    /// The commands that a modem has been given.
    pub fn commands(&self, modem: usize) -> Vec<String> {
        self.heard.lock().expect("no panic")[modem].clone()
    }

    /// Whether no modem is in a call.
    pub fn is_quiet(&self) -> bool {
        self.states.lock().expect("no panic").iter().all(|state| *state == "command")
    }
}

enum State {
    Command,
    Dialling {
        number: String,
        since: Instant,
    },
    Ringing {
        from: usize,
        last: Option<Instant>,
        rings: u8,
    },
    /// The far one rings.
    Waiting {
        since: Instant,
    },
    Online {
        with: usize,
        commands: bool,
    },
}

struct Modem {
    setup: Setup,
    master: std::fs::File,
    state: State,
    echo: bool,
    registers: [u8; REGISTERS],
    line: Vec<u8>,
    to_computer: VecDeque<u8>,
    /// When data last came from the computer, and the pluses since a silence.
    last_data: Instant,
    pluses: u32,
    carried: u64,
}

impl Modem {
    fn new(setup: Setup, master: std::fs::File) -> Self {
        Self {
            setup,
            master,
            state: State::Command,
            echo: true,
            registers: REGISTERS_AT_FIRST,
            line: Vec::new(),
            to_computer: VecDeque::new(),
            last_data: Instant::now(),
            pluses: 0,
            carried: 0,
        }
    }

    fn say(&mut self, words: &str) {
        self.to_computer.extend(format!("\r\n{words}\r\n").bytes());
    }

    fn flush(&mut self) {
        let bytes = self.to_computer.make_contiguous();
        match self.master.write(bytes) {
            Ok(count) => drop(self.to_computer.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Nobody listens.
            Err(_) => self.to_computer.clear(),
        }
    }

    /// `S0=1` and `S0?`, wherever in a line they are. False where one is none.
    fn handle_registers(&mut self, line: &str) -> bool {
        for part in line.split('S').skip(1) {
            let digits = part.chars().take_while(char::is_ascii_digit).count();
            let number: usize = part[..digits].parse().unwrap_or(REGISTERS);
            let Some(register) = self.registers.get_mut(number) else { return false };
            let told = *register;
            if let Some(value) = part[digits..].strip_prefix('=') {
                let value: String = value.chars().take_while(char::is_ascii_digit).collect();
                let Ok(value) = value.parse() else { return false };
                *register = value;
            } else if part[digits..].starts_with('?') {
                self.say(&format!("{told:03}"));
            }
        }
        true
    }

    fn takes_commands(&self) -> bool {
        !matches!(self.state, State::Online { commands: false, .. })
    }
}

struct World {
    modems: Vec<Modem>,
    heard: Arc<Mutex<Vec<Vec<String>>>>,
    states: Arc<Mutex<Vec<&'static str>>>,
}

impl World {
    fn run(mut self, stopped: &Receiver<()>) {
        while stopped.recv_timeout(STEP) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            for at in 0..self.modems.len() {
                self.hear(at);
                self.look_at_clock(at);
            }
            self.modems.iter_mut().for_each(Modem::flush);
            let state = |modem: &Modem| match modem.state {
                State::Command => "command",
                State::Dialling { .. } | State::Waiting { .. } => "dialling",
                State::Ringing { .. } => "ringing",
                State::Online { .. } => "online",
            };
            *self.states.lock().expect("no panic") = self.modems.iter().map(state).collect();
        }
    }

    fn hear(&mut self, at: usize) {
        let mut buffer = [0; 4096];
        // As a modem with RTS/CTS: no more than the far computer takes.
        if let State::Online { with, commands: false } = self.modems[at].state
            && self.modems[with].to_computer.len() > 4096
        {
            return;
        }
        let Ok(count) = self.modems[at].master.read(&mut buffer) else { return };
        for byte in &buffer[..count] {
            if self.modems[at].takes_commands() {
                self.hear_command(at, *byte);
            } else {
                self.carry(at, *byte);
            }
        }
    }

    fn hear_command(&mut self, at: usize, byte: u8) {
        let modem = &mut self.modems[at];
        if modem.echo {
            modem.to_computer.push_back(byte);
        }
        if byte != b'\r' {
            modem.line.push(byte);
            return;
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut modem.line)).trim().to_owned();
        if matches!(modem.state, State::Dialling { .. } | State::Waiting { .. }) {
            self.hang_up(at);
            return self.modems[at].say("NO CARRIER");
        }
        if !line.is_empty() {
            self.heard.lock().expect("no panic")[at].push(line.clone());
            self.execute(at, &line);
        }
    }

    fn execute(&mut self, at: usize, line: &str) {
        let upper = line.to_ascii_uppercase();
        let Some(rest) = upper.strip_prefix("AT") else { return };
        if let Some(number) = rest.strip_prefix("DT").or(rest.strip_prefix("DP")) {
            let number = number.replace('-', "");
            self.modems[at].state = State::Dialling { number, since: Instant::now() };
            return;
        }
        let connected = matches!(self.modems[at].state, State::Online { .. });
        match rest {
            "A" => return self.answer(at),
            "H" | "H0" | "Z" if connected => self.hang_up(at),
            "H" | "H0" => {}
            "Z" => (self.modems[at].echo, self.modems[at].registers) = (true, REGISTERS_AT_FIRST),
            "I" => self.modems[at].say("2400"),
            _ if rest.contains("XYZZY") => return self.modems[at].say("ERROR"),
            _ => {}
        }
        if !self.modems[at].handle_registers(rest) {
            return self.modems[at].say("ERROR");
        }
        if rest.contains("E0") {
            self.modems[at].echo = false;
        }
        self.modems[at].say("OK");
    }

    fn answer(&mut self, at: usize) {
        let State::Ringing { from, .. } = self.modems[at].state else { return self.modems[at].say("NO CARRIER") };
        for (one, other) in [(at, from), (from, at)] {
            let modem = &mut self.modems[one];
            let connect = modem.setup.connect;
            modem.say(connect);
            modem.state = State::Online { with: other, commands: false };
            (modem.last_data, modem.pluses, modem.carried) = (Instant::now(), 0, 0);
        }
    }

    /// Ends whatever it is in; the other side loses its carrier.
    fn hang_up(&mut self, at: usize) {
        let other = match self.modems[at].state {
            State::Online { with, .. } => Some(with),
            State::Waiting { .. } => {
                self.modems.iter().position(|m| matches!(m.state, State::Ringing { from, .. } if from == at))
            }
            State::Command | State::Dialling { .. } | State::Ringing { .. } => None,
        };
        self.modems[at].state = State::Command;
        if let Some(other) = other {
            if matches!(self.modems[other].state, State::Online { .. }) {
                self.modems[other].say("NO CARRIER");
            }
            self.modems[other].state = State::Command;
        }
    }

    fn carry(&mut self, at: usize, byte: u8) {
        let State::Online { with, .. } = self.modems[at].state else { return };
        let modem = &mut self.modems[at];
        let silence = modem.last_data.elapsed() >= GUARD;
        modem.pluses = match (byte, modem.pluses, silence) {
            (b'+', 0, true) => 1,
            (b'+', n @ 1..=2, false) => n + 1,
            _ => 0,
        };
        modem.last_data = Instant::now();
        modem.carried += 1;
        let cut = modem.setup.cut_after.is_some_and(|most| modem.carried > most);
        if cut {
            modem.setup.cut_after = None;
            modem.say("NO CARRIER");
            self.hang_up(at);
        } else {
            self.modems[with].to_computer.push_back(byte);
        }
    }

    fn look_at_clock(&mut self, at: usize) {
        match &self.modems[at].state {
            State::Dialling { number, since } if since.elapsed() > Duration::from_millis(100) => {
                let found = self.modems.iter().position(|m| m.setup.number == *number);
                self.dialled(at, found);
            }
            State::Ringing { last, .. } if last.is_none_or(|last| last.elapsed() > RINGS) => {
                let State::Ringing { last, rings, .. } = &mut self.modems[at].state else { return };
                *last = Some(Instant::now());
                *rings += 1;
                let itself = *rings == self.modems[at].registers[0];
                self.modems[at].say("RING");
                if itself {
                    self.answer(at);
                }
            }
            State::Waiting { since } if since.elapsed() > Duration::from_secs(self.modems[at].registers[7].into()) => {
                self.hang_up(at);
                self.modems[at].say("NO CARRIER");
            }
            State::Online { commands: false, .. }
                if self.modems[at].pluses == 3 && self.modems[at].last_data.elapsed() >= GUARD =>
            {
                let State::Online { commands, .. } = &mut self.modems[at].state else { return };
                *commands = true;
                self.modems[at].pluses = 0;
                self.modems[at].say("OK");
            }
            _ => {}
        }
    }

    fn dialled(&mut self, at: usize, found: Option<usize>) {
        let free = |other: &Modem| matches!(other.state, State::Command) && !other.setup.busy;
        match found {
            None => self.modems[at].say("NO CARRIER"),
            Some(other) if other == at || !free(&self.modems[other]) => self.modems[at].say("BUSY"),
            Some(other) => {
                self.modems[other].state = State::Ringing { from: at, last: None, rings: 0 };
                self.modems[at].state = State::Waiting { since: Instant::now() };
                return;
            }
        }
        self.modems[at].state = State::Command;
    }
}
