//! Ports and the ways that lead over them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::Checker;
use super::units::nearest;
use super::{Port, modems, raw};
use crate::base::names::PortName;
use crate::call::{AnsweringPort, ChatProgram, Modem, PortKind, SharedPort, StatedLine, Way};
use crate::link::{CarrierLine, Dialect, Flow, Parity, Place, SerialLine, TncLine};
use crate::session::chat::Script;
use crate::session::dial::is_host;

const PORT_TYPES: [&str; 4] = ["serial", "tcp", "pipe", "modem-tcp"];
/// Where programs that share a line look for each other's locks (FHS 3.0 section 5.9).
const LOCKS: &str = "/var/lock";

/// The ports as they were written.
pub(super) struct Ports {
    pub single: BTreeMap<raw::At<String>, raw::Port>,
    pub pools: BTreeMap<raw::At<String>, raw::Pool>,
}

impl Ports {
    fn find(&self, name: &str) -> Option<&raw::Port> {
        self.single.iter().find(|(known, _)| known.get_ref() == name).map(|(_, port)| port)
    }

    fn pool(&self, name: &str) -> Option<&raw::Pool> {
        self.pools.iter().find(|(known, _)| known.get_ref() == name).map(|(_, pool)| pool)
    }

    fn unknown(&self, name: &str, with_pools: bool) -> String {
        let pools = self.pools.keys().filter(|_| with_pools);
        match nearest(name, self.single.keys().chain(pools).map(|n| n.get_ref().as_str())) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("write a section [port.{name}]"),
        }
    }
}

impl Checker<'_> {
    pub(super) fn ports(&mut self, ports: &Ports) -> (Vec<Port>, Vec<AnsweringPort>) {
        let (mut by_name, mut answering) = (Vec::new(), Vec::new());
        for (name, port) in &ports.single {
            let key = format!("port.{}", name.get_ref());
            let parsed = self.take(&key, name, PortName::parse);
            match &port.kind {
                None => self.complain(
                    name.span(),
                    &key,
                    "the port has no type",
                    "write type = \"serial\", \"tcp\", \"pipe\" or \"modem-tcp\"",
                ),
                Some(kind) if !PORT_TYPES.contains(&kind.get_ref().as_str()) => {
                    let what = format!("no port type `{}`", kind.get_ref());
                    self.complain(kind.span(), &key, what, format!("known: {}", PORT_TYPES.join(", ")));
                }
                Some(_) => {}
            }
            if let Some(speed) = port.speed.as_ref().filter(|s| *s.get_ref() == 0) {
                self.complain(speed.span(), &key, "a speed of 0", "write bits per second, or leave it out");
            }
            if let Some(other) = &port.port {
                self.complain(other.span(), &key, "a port cannot name another port", "");
            }
            let Some(name) = parsed else { continue };
            if port.answer == Some(true) {
                answering.extend(self.answering(&key, name.clone(), port));
            }
            // What a way has to add is asked for where it stands.
            if port.is_whole() {
                let span = port.kind.as_ref().map_or(0..0, raw::At::span);
                by_name.extend(self.kind(&key, span, port).map(|kind| Port { name, kind, stated: port.stated() }));
            }
        }
        (by_name, answering)
    }

    /// A port where callers are waited for.
    fn answering(&mut self, key: &str, name: PortName, port: &raw::Port) -> Option<AnsweringPort> {
        let span = port.kind.as_ref().map_or(0..0, raw::At::span);
        match self.kind(key, span.clone(), port)? {
            kind @ (PortKind::Serial { .. } | PortKind::Radio { .. }) => Some(AnsweringPort {
                name,
                kind,
                stated: port.stated(),
                chat: self.answer_chat(key, port),
                rings: port.rings.as_ref().map_or(1, |rings| *rings.get_ref()),
                ask_login: port.ask_login.unwrap_or(true),
            }),
            PortKind::Tcp { .. } | PortKind::Pipe { .. } => {
                self.complain(
                    span,
                    key,
                    "only a serial line or a radio answers",
                    "TCP callers come by uucp = \"ADDRESS\" in [listen]",
                );
                None
            }
        }
    }

    /// Ports that others may have over the network.
    pub(super) fn shared(&mut self, ports: &Ports) -> Vec<SharedPort> {
        let mut shared = Vec::new();
        for (name, port) in &ports.single {
            let (Some(address), Ok(parsed)) = (&port.share, PortName::parse(name.get_ref())) else { continue };
            let key = format!("port.{}.share", name.get_ref());
            if !has_port(address.get_ref()) {
                let what = format!("`{}` is no address and port", address.get_ref());
                self.complain(address.span(), &key, what, "write share = \"127.0.0.1:2217\"");
                continue;
            }
            match self.kind(&key, address.span(), port) {
                Some(PortKind::Serial { line, .. }) if matches!(line.place, Place::Device { .. }) => {
                    shared.push(SharedPort { name: parsed, line, address: address.get_ref().clone() });
                }
                Some(_) => self.complain(address.span(), &key, "only a serial line of this machine can be shared", ""),
                // Said where the port stands.
                None => {}
            }
        }
        shared
    }

    fn answer_chat(&mut self, key: &str, port: &raw::Port) -> Script {
        let Some(text) = &port.answer_chat else { return Script::default() };
        let fail = port.chat_fail.as_ref().map_or(Vec::new(), |fail| fail.get_ref().clone());
        let script = self.take(key, text, |text| Script::parse(text, &fail)).unwrap_or_default();
        if script.needs_login() {
            let what = "nobody is known yet whose login `\\L` or `\\P` could say";
            self.complain(text.span(), key, what, "leave them out: the login comes after this chat");
        }
        script
    }

    /// Pools of ports: each has some, all of them are there, and none is a port itself.
    pub(super) fn pools(&mut self, ports: &Ports) {
        for (name, pool) in &ports.pools {
            let key = format!("pool.{}", name.get_ref());
            self.take(&key, name, PortName::parse);
            if ports.find(name.get_ref()).is_some() {
                let what = format!("`{}` is a port and a pool", name.get_ref());
                self.complain(name.span(), &key, what, "a `call` entry could mean either: give one another name");
            }
            let members = pool.ports.get_ref();
            if members.is_empty() {
                self.complain(pool.ports.span(), &key, "the pool is empty", "write ports = [\"modem1\", \"modem2\"]");
            }
            for (n, member) in members.iter().enumerate() {
                let word = member.get_ref();
                if ports.find(word).is_none() {
                    self.complain(member.span(), &key, format!("no port `{word}`"), ports.unknown(word, false));
                } else if members[..n].iter().any(|other| other.get_ref() == word) {
                    self.complain(member.span(), &key, format!("port `{word}` stands there twice"), "");
                }
            }
        }
    }

    /// The ways of the `call` entry at this place of its list: one over a port, or one over each port of a pool.
    pub(super) fn ways(&mut self, key: &str, ports: &Ports, place: usize, entry: &raw::At<raw::Port>) -> Vec<Way> {
        let Some(name) = &entry.get_ref().port else {
            self.complain(
                entry.span(),
                key,
                "the entry names no port",
                "write { port = \"NAME\", … } with a port from a [port.NAME] section",
            );
            return Vec::new();
        };
        let word = name.get_ref();
        if let Some(port) = ports.find(word) {
            return self.way(key, name, port, entry).into_iter().map(|way| Way { entry: place, ..way }).collect();
        }
        let Some(pool) = ports.pool(word) else {
            self.complain(name.span(), key, format!("no port `{word}`"), ports.unknown(word, true));
            return Vec::new();
        };
        // Complained of where it stands, if it is no name.
        let pool_name = PortName::parse(word).ok();
        let member = |member: &raw::At<String>| {
            let way = self.way(key, member, ports.find(member.get_ref())?, entry)?;
            Some(Way { entry: place, pool: pool_name.clone(), ..way })
        };
        pool.ports.get_ref().iter().filter_map(member).collect()
    }

    /// The way over one port, with what the entry sets of it.
    fn way(&mut self, key: &str, name: &raw::At<String>, port: &raw::Port, entry: &raw::At<raw::Port>) -> Option<Way> {
        let name = PortName::parse(name.get_ref()).ok()?;
        let set = entry.get_ref().over(port);
        let kind = self.kind(key, entry.span(), &set)?;
        if let PortKind::Serial { modem: Some(Modem { number: None, .. }), .. } = &kind {
            self.complain(entry.span(), key, "a call by modem needs a number", "write phone = \"5551234\"");
        }
        if let PortKind::Radio { station: None, .. } = &kind {
            self.complain(entry.span(), key, "a call by radio needs a station", "write station = \"K1ABC-7\"");
        }
        let fail = set.chat_fail.as_ref().map_or(Vec::new(), |f| f.get_ref().clone());
        let chat_program = self.chat_program(key, &set);
        let chat = match &set.chat {
            Some(text) => self.take(key, text, |t| Script::parse(t, &fail))?,
            // It is there to log in.
            None if chat_program.is_some() => Script::default(),
            // Every daemon behind TCP or a modem asks for a login; behind a line or a program nobody may.
            None if asks_login(&kind) => Script::login(),
            None => Script::default(),
        };
        Some(Way { port: name, pool: None, entry: 0, kind, chat_program, chat, stated: set.stated() })
    }

    fn chat_program(&mut self, key: &str, set: &raw::Port) -> Option<ChatProgram> {
        let limit = self.wait_if(key, set.chat_program_limit.as_ref(), "1d").unwrap_or(ChatProgram::LIMIT);
        let words = set.chat_program.as_ref()?;
        match ChatProgram::parse(words.get_ref(), limit) {
            Ok(program) => Some(program),
            Err(why) => {
                self.complain(words.span(), key, format!("bad chat program: {why}"), "");
                None
            }
        }
    }

    pub(super) fn dial_codes(
        &mut self,
        codes: &BTreeMap<raw::At<String>, raw::At<String>>,
    ) -> BTreeMap<String, String> {
        let mut known = BTreeMap::new();
        for (name, code) in codes {
            let word = name.get_ref();
            let key = format!("dial-codes.{word}");
            if word.is_empty() || !word.chars().all(|c| c.is_ascii_alphabetic()) {
                let hint = "write letters only: they end where the rest of the number begins";
                self.complain(name.span(), &key, format!("`{word}` is no name for a dial code"), hint);
            }
            // The rest is checked as if a wrong one were there.
            let code = self.take(&key, code, dialled).unwrap_or_default();
            known.insert(word.clone(), code);
        }
        known
    }

    fn kind(&mut self, key: &str, span: Range<usize>, set: &raw::Port) -> Option<PortKind> {
        let kind = set.kind.as_ref()?.get_ref().as_str();
        match kind {
            "serial" => self.serial(key, span, set),
            "tcp" => {
                let Some(address) = &set.address else {
                    self.complain(span, key, "a TCP port needs an address", "write address = \"hub.example:540\"");
                    return None;
                };
                let text = address.get_ref();
                let telnet = set.telnet.unwrap_or(false);
                let usual = if telnet { 23 } else { 540 };
                let whole = text.starts_with('/') || has_port(text);
                Some(PortKind::Tcp { address: if whole { text.clone() } else { format!("{text}:{usual}") }, telnet })
            }
            "pipe" => match set.command.as_ref().filter(|c| !c.get_ref().is_empty()) {
                Some(command) => Some(PortKind::Pipe { command: command.get_ref().clone() }),
                None => {
                    let hint = "write command = [\"ssh\", \"-T\", \"uucp@hub.example\"]";
                    self.complain(span, key, "a pipe port needs a command", hint);
                    None
                }
            },
            "modem-tcp" => self.radio(key, span, set),
            // Said where the port stands.
            _ => None,
        }
    }

    fn radio(&mut self, key: &str, span: Range<usize>, set: &raw::Port) -> Option<PortKind> {
        let Some(address) = &set.address else {
            let hint = "write the address of its command port, address = \"127.0.0.1:8300\"";
            self.complain(span, key, "a radio modem program needs an address", hint);
            return None;
        };
        let Some(call_sign) = &set.call_sign else {
            self.complain(span, key, "a radio needs our call sign", "write call-sign = \"N0CALL-7\"");
            return None;
        };
        let commands = address.get_ref().clone();
        let data = match &set.data_address {
            Some(data) => data.get_ref().clone(),
            None => self.take(key, address, next_port)?,
        };
        let dialect = match &set.dialect {
            Some(dialect) => self.take(key, dialect, dialect_of)?,
            None => Dialect::Vara,
        };
        let call_sign = self.take(key, call_sign, station)?;
        let called = match &set.station {
            Some(name) => Some(self.take(key, name, station)?),
            None => None,
        };
        let setup = set.setup.as_ref().map_or(Vec::new(), |setup| setup.get_ref().clone());
        if setup.iter().any(|line| line.chars().any(char::is_control)) {
            self.complain(span, key, "a set-up command has a control character", "the carriage return is added");
        }
        let speed = set.speed.as_ref().map_or(1200, |speed| *speed.get_ref());
        let line = TncLine { dialect, commands, data, call_sign, setup, speed };
        Some(PortKind::Radio { line, station: called })
    }

    fn serial(&mut self, key: &str, span: Range<usize>, set: &raw::Port) -> Option<PortKind> {
        let at_server = match (&set.device, &set.server) {
            (Some(_), None) => None,
            (None, Some(server)) if has_port(server.get_ref()) => Some(server.get_ref().clone()),
            (None, Some(server)) => {
                let what = format!("`{}` names no port of a server", server.get_ref());
                self.complain(server.span(), key, what, "write server = \"rack.example:2001\"");
                return None;
            }
            (None, None) => {
                self.complain(span, key, "a serial port needs a device", "write device = \"/dev/ttyUSB0\"");
                return None;
            }
            (Some(_), Some(server)) => {
                let hint = "write device for a line of this machine, server for one on the network";
                self.complain(server.span(), key, "the port has a device and a server", hint);
                return None;
            }
        };
        let line_profile = match &set.modem {
            Some(name) => {
                let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
                Some(self.take(key, name, |name| modems::find(name, &folder))?)
            }
            None => None,
        };
        // A profile of a cable or an adapter: there are modem lines, and nothing to dial.
        let wired = matches!(line_profile, Some(None));
        let profile = line_profile.flatten();
        let number = match &set.phone {
            Some(phone) => {
                let codes = std::mem::take(&mut self.dial_codes);
                let number = self.take(key, phone, |text| number(text, &codes));
                self.dial_codes = codes;
                Some(number?)
            }
            None => None,
        };
        let flow = match &set.flow {
            Some(flow) => self.take(key, flow, flow_control)?,
            None if profile.is_some() || wired => Flow::RtsCts,
            None => Flow::None,
        };
        let parity = match &set.parity {
            Some(parity) => self.take(key, parity, parity_of)?,
            None => Parity::None,
        };
        let carrier = match &set.carrier_line {
            Some(line) => self.take(key, line, carrier_line)?,
            None => CarrierLine::Dcd,
        };
        let place = match at_server {
            Some(address) => Place::Server(address),
            None => device_place(set),
        };
        let speed = set.speed.as_ref().map_or(9600, |s| *s.get_ref());
        Some(PortKind::Serial {
            line: SerialLine { place, speed, parity, flow, carrier },
            modem: profile.map(|profile| Modem { profile: Arc::new(profile), number }),
            carrier: set.carrier.unwrap_or(wired || set.carrier_line.is_some()),
        })
    }
}

fn device_place(set: &raw::Port) -> Place {
    let path = PathBuf::from(set.device.as_ref().map_or("", |device| device.get_ref()));
    // Nobody else uses a pty.
    let default_locks = Some(LOCKS).filter(|_| !path.starts_with("/dev/pts")).map(PathBuf::from);
    let locks = match &set.locks {
        Some(folder) => Some(PathBuf::from(folder)).filter(|folder| !folder.as_os_str().is_empty()),
        None => default_locks,
    };
    Place::Device { path, locks }
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn asks_login(kind: &PortKind) -> bool {
    matches!(kind, PortKind::Tcp { .. } | PortKind::Serial { modem: Some(_), .. })
}

/// What a modem can be told to dial: digits, pauses and the like; for emulators a host and port.
fn dialled(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "*#,;@!&+.:/()-=_ ".contains(c);
    match text.is_empty() || text.len() > 80 || !text.chars().all(good) {
        true => Err(format!("`{text}` cannot be dialled: use digits, letters and *#,;@!&+.:/()-=")),
        false => Ok(text.to_owned()),
    }
}

/// A number with the letters at its beginning replaced, as by Taylor's `dialcode` file and HDB's `Dialcodes`. BSD drops
/// letters that are no code, which dials somebody else.
fn number(text: &str, codes: &BTreeMap<String, String>) -> Result<String, String> {
    let text = dialled(text)?;
    let (letters, rest) = text.split_at(text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len()));
    // A single letter is for the modem: P and T, and W, which waits for the dial tone.
    if let Some(code) = codes.get(letters).filter(|_| !is_host(&text)) {
        return dialled(&format!("{code}{rest}"));
    }
    if codes.is_empty() || letters.len() < 2 || is_host(&text) {
        return Ok(text);
    }
    Err(match nearest(letters, codes.keys().map(String::as_str)) {
        Some(near) => format!("no dial code `{letters}`; did you mean `{near}`?"),
        None => format!("no dial code `{letters}`; write {letters} = \"…\" in [dial-codes]"),
    })
}

/// A call sign with its SSID, as it goes into a command.
fn station(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/');
    match text.is_empty() || text.len() > 15 || !text.chars().all(good) {
        true => Err(format!("`{text}` is no call sign: write it as N0CALL-7")),
        false => Ok(text.to_ascii_uppercase()),
    }
}

fn dialect_of(text: &str) -> Result<Dialect, String> {
    match text {
        "vara" => Ok(Dialect::Vara),
        "ardop" => Ok(Dialect::Ardop),
        _ => Err(format!("no dialect `{text}`: write \"vara\" or \"ardop\"")),
    }
}

/// Both programs have their data port behind the command port.
fn next_port(address: &str) -> Result<String, String> {
    let parsed =
        address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?.checked_add(1)?)));
    let (host, port) = parsed.ok_or(format!("`{address}` is no host and port: write 127.0.0.1:8300"))?;
    Ok(format!("{host}:{port}"))
}

fn flow_control(text: &str) -> Result<Flow, String> {
    match text {
        "none" => Ok(Flow::None),
        "rts-cts" => Ok(Flow::RtsCts),
        "xon-xoff" => Ok(Flow::XonXoff),
        _ => Err(format!("no flow control `{text}`: write \"none\", \"rts-cts\" or \"xon-xoff\"")),
    }
}

fn carrier_line(text: &str) -> Result<CarrierLine, String> {
    match text {
        "dcd" => Ok(CarrierLine::Dcd),
        "dsr" => Ok(CarrierLine::Dsr),
        _ => Err(format!("no line `{text}` tells of a caller: write \"dcd\" or \"dsr\"")),
    }
}

fn parity_of(text: &str) -> Result<Parity, String> {
    match text {
        "none" => Ok(Parity::None),
        "even" => Ok(Parity::Even),
        "odd" => Ok(Parity::Odd),
        _ => Err(format!("no parity `{text}`: write \"none\", \"even\" or \"odd\"")),
    }
}

impl raw::Port {
    /// Whether it says where it leads.
    fn is_whole(&self) -> bool {
        self.device.is_some() || self.server.is_some() || self.address.is_some() || self.command.is_some()
    }

    /// What it says of the line.
    fn stated(&self) -> StatedLine {
        let speed = self.speed.as_ref().map(|speed| *speed.get_ref());
        let Self { reliable, half_duplex, eight_bit, transparent, .. } = *self;
        StatedLine { reliable, half_duplex, speed, eight_bit, transparent }
    }

    /// These keys, and for those not given the ones of `port`.
    fn over(&self, port: &Self) -> Self {
        let own = self.clone();
        let under = port.clone();
        Self {
            kind: own.kind.or(under.kind),
            port: own.port,
            device: own.device.or(under.device),
            server: own.server.or(under.server),
            speed: own.speed.or(under.speed),
            flow: own.flow.or(under.flow),
            parity: own.parity.or(under.parity),
            carrier: own.carrier.or(under.carrier),
            carrier_line: own.carrier_line.or(under.carrier_line),
            locks: own.locks.or(under.locks),
            modem: own.modem.or(under.modem),
            phone: own.phone.or(under.phone),
            data_address: own.data_address.or(under.data_address),
            dialect: own.dialect.or(under.dialect),
            call_sign: own.call_sign.or(under.call_sign),
            station: own.station.or(under.station),
            setup: own.setup.or(under.setup),
            answer: None,
            share: None,
            rings: None,
            answer_chat: None,
            ask_login: None,
            address: own.address.or(under.address),
            telnet: own.telnet.or(under.telnet),
            command: own.command.or(under.command),
            chat_program: own.chat_program.or(under.chat_program),
            chat_program_limit: own.chat_program_limit.or(under.chat_program_limit),
            chat: own.chat.or(under.chat),
            chat_fail: own.chat_fail.or(under.chat_fail),
            reliable: own.reliable.or(under.reliable),
            eight_bit: own.eight_bit.or(under.eight_bit),
            transparent: own.transparent.or(under.transparent),
            half_duplex: own.half_duplex.or(under.half_duplex),
        }
    }
}
