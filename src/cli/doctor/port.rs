//! One port: the device and who else wants it, the modem, the cable, and with a partner the line.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::sys::stat::{major, minor};
use serde_json::{Value, json};

use super::user::{Access, User};
use super::{Chart, Doctor, Finding, State};
use crate::base::words::count;
use crate::call::{self, Modem, PortKind, StatedLine};
use crate::cli::local::name_of;
use crate::cli::signals::{self, Signals};
use crate::cli::{Failure, Here, Opened, UNAVAILABLE, runtime};
use crate::daemon::now;
use crate::dialogue::Facts;
use crate::link::{self, Holder, Link, LockFile, Nudges, Place};
use crate::proto;
use crate::session::dial::{Connection, Dial, Profile};
use crate::session::identity::Identity;
use crate::session::line_test::{Asker, Depth, Direction, LineReport, LineTestFailure, Partner};
use crate::store::LockKind;

/// After so many rings a modem is answered.
const RINGS: u32 = 1;
/// Device numbers (Linux, `devices.txt`): of ptys; of serial ports where sysfs says nothing: 8250, USB modems, USB adapters, those
/// of small boards, Bluetooth.
const PTYS: RangeInclusive<u64> = 136..=143;
const SERIAL_PORTS: [u64; 5] = [4, 166, 188, 204, 216];
/// How long it may take to open a port: a radio tries its call several times.
const OPEN_TIMEOUT: Duration = Duration::from_secs(120);

pub(super) fn examine(
    here: &Here,
    told: &Doctor,
    name: &str,
    wait: Duration,
    chart: &mut Chart,
) -> Result<(), Failure> {
    if name == "-" {
        return runtime()?.block_on(async {
            let mut link = link::standard_streams().map_err(|error| Failure::of(UNAVAILABLE, &error))?;
            let (ours, mut nudges) = call::own_nudges();
            let testing = test(&mut link, told, wait, &mut nudges, chart);
            let result = Signals::listen()?.heed(&ours, testing).await;
            link.close().await;
            result?
        });
    }
    let opened = here.open()?;
    let (kind, stated) = port_of(&opened, told, name)?;
    let Some(_lock) = opened.store.lock(LockKind::Port, name)? else {
        return chart.trouble(
            "port",
            format!("{name} is in use by another bangpath"),
            "`bangpath site list` shows calls",
        );
    };
    if let PortKind::Serial { line, .. } = &kind
        && let Place::Device { path, locks } = &line.place
        && !device(path, locks.as_deref(), User::of(&opened.config.spool).as_ref(), chart)?
    {
        return Ok(());
    }
    if let PortKind::Radio { station: None, .. } = &kind
        && !told.answer
    {
        return chart.remark("port", "no station to call", "name a site that is called over this radio: --site SITE");
    }
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        // A radio that answers is open when somebody calls.
        let opening = tokio::time::timeout(wait.max(OPEN_TIMEOUT), call::open_port(&kind));
        let opened = tokio::select! {
            opened = opening => opened,
            () = signals.next() => return Err(signals::ended()),
        };
        let mut link = match opened {
            Err(_) => return chart.trouble("port", "nobody called", ""),
            Ok(Ok(link)) => link,
            Ok(Err(error)) => return chart.trouble("port", Failure::of(UNAVAILABLE, &error).to_string(), ""),
        };
        stated.describe(&mut link.facts);
        chart.good("port", format!("{name} is open: {}", link.facts))?;
        let (ours, mut nudges) = call::own_nudges();
        let testing = over_link(&mut link, &kind, told, wait, &mut nudges, chart);
        let result = signals.heed(&ours, testing).await;
        let dialled =
            told.answer || matches!(&kind, PortKind::Serial { modem: Some(Modem { number: Some(_), .. }), .. });
        call::hang_up(&mut link, &kind, dialled, &mut nudges, now).await;
        link.close().await;
        result?
    })
}

/// The port as it stands in the configuration, or as a call to the site would use it.
fn port_of(opened: &Opened, told: &Doctor, name: &str) -> Result<(PortKind, StatedLine), Failure> {
    let missing = |what: String| Failure::new(UNAVAILABLE, what);
    let (mut kind, stated) = match &told.site {
        Some(site) => {
            let site = opened.context.site(site).ok_or_else(|| missing(format!("no site `{site}`")))?;
            let way = site.ways.iter().find(|way| way.port.as_str() == name);
            let way = way.ok_or_else(|| missing(format!("{} is not called over port `{name}`", site.name)))?;
            (way.kind.clone(), way.stated)
        }
        None => {
            let port = opened.port(name)?;
            (port.kind.clone(), port.stated)
        }
    };
    match (&mut kind, &told.phone) {
        (_, None) => {}
        (PortKind::Serial { modem: Some(modem), .. }, Some(phone)) => modem.number = Some(phone.clone()),
        (_, Some(_)) => return Err(missing(format!("port {name} has no modem that could dial"))),
    }
    Ok((kind, stated))
}

/// Why a device cannot be used.
pub(super) struct DeviceTrouble {
    pub text: String,
    /// What to do, if anything.
    pub advice: String,
    /// Perhaps it can: the unit of a daemon that does not run now may give it the group.
    pub doubtful: bool,
}

/// Whether a device can be used by the daemon's user (`None`: by us).
pub(super) fn device_trouble(path: &Path, user: Option<&User>) -> Option<DeviceTrouble> {
    let shown = path.display();
    let trouble = |text, advice: &str| Some(DeviceTrouble { text, advice: advice.to_owned(), doubtful: false });
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let advice = "plug it in, switch it on; `ls /dev/serial/by-id` shows USB adapters by names that stay";
            return trouble(format!("{shown} is not there"), advice);
        }
        Err(error) => return trouble(format!("{shown}: {error}"), ""),
    };
    let name_one = "name a serial device, such as /dev/ttyUSB0";
    if !facts.file_type().is_char_device() {
        return trouble(format!("{shown} is no device"), name_one);
    }
    if !is_terminal(facts.rdev()) {
        return trouble(format!("{shown} is no terminal"), name_one);
    }
    match user.map(|user| (user, user.access(&facts))) {
        Some((user, Access::ToGroup)) if !user.runs => {
            let DeviceTrouble { text, advice, .. } = not_open(path, &facts, &user.name);
            let advice = format!("{advice}, unless the daemon's unit gives it that group");
            return Some(DeviceTrouble { text, advice, doubtful: true });
        }
        Some((user, Access::ToGroup | Access::Closed)) => return Some(not_open(path, &facts, &user.name)),
        Some((_, Access::Open)) | None => {}
    }
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
    match fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let me = name_of(nix::unistd::geteuid());
            Some(not_open(path, &facts, me.as_deref().unwrap_or("USER")))
        }
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => None,
        Err(error) => trouble(format!("{shown}: {error}"), name_one),
        Ok(file) => match nix::unistd::isatty(&file) {
            Ok(true) => None,
            Ok(false) => trouble(format!("{shown} is no terminal"), name_one),
            Err(error) => trouble(format!("{shown}: {}", error.desc()), "there is no port behind it: name another"),
        },
    }
}

/// Whether a device is a terminal, told by its number alone: to open another one may do something, such as start a watchdog
/// that reboots the machine.
fn is_terminal(device: u64) -> bool {
    let (major, minor) = (major(device), minor(device));
    // Ptys stand nowhere in sysfs.
    if PTYS.contains(&major) {
        return true;
    }
    match fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem")) {
        Ok(class) => class.file_name().is_some_and(|name| name == "tty"),
        Err(_) => SERIAL_PORTS.contains(&major),
    }
}

fn not_open(path: &Path, facts: &fs::Metadata, user: &str) -> DeviceTrouble {
    let group = nix::unistd::Group::from_gid(facts.gid().into()).ok().flatten();
    let group = group.map_or(facts.gid().to_string(), |group| group.name);
    let text = format!("{} is not open to {user}: it belongs to the group {group}", path.display());
    let advice = match facts.mode() & 0o060 {
        0o060 => format!("usermod -aG {group} {user}, then log in anew (the daemon: restart it)"),
        _ => "not even that group may use it: a udev rule with MODE=\"0660\" and GROUP=\"dialout\" changes that"
            .to_owned(),
    };
    DeviceTrouble { text, advice, doubtful: false }
}

/// Whether the device can be opened.
fn device(path: &Path, locks: Option<&Path>, user: Option<&User>, chart: &mut Chart) -> Result<bool, Failure> {
    match device_trouble(path, user) {
        // Ours to test all the same.
        Some(DeviceTrouble { text, advice, doubtful: true }) => chart.remark("device", text, &advice)?,
        Some(DeviceTrouble { text, advice, doubtful: false }) => {
            chart.trouble("device", text, &advice)?;
            return Ok(false);
        }
        None => {}
    }
    let real = path.canonicalize().unwrap_or(path.to_owned());
    let link = if real == path { String::new() } else { format!(" ({})", real.display()) };
    chart.good("device", format!("{}{link} is there, and open to us", path.display()))?;
    if let Some(manager) = ModemManager::watches(path) {
        chart.remark("device", manager.text, manager.advice)?;
    }
    if let Some(holder) = locks.and_then(|folder| LockFile::holder(folder, path)) {
        let (name, advice) = name_of_holder(&holder, "end that program, or wait until it has done");
        chart.trouble("lock", format!("locked by {name}"), advice)?;
        return Ok(false);
    }
    match locks {
        Some(folder) if !folder.is_dir() => {
            let text = format!("{} is no folder: other programs do not see that we use the line", folder.display());
            chart.remark("lock", text, "name the folder of lock files, or write locks = \"\"")?;
        }
        Some(_) => chart.good("lock", "nobody else has it")?,
        None => {}
    }
    Ok(true)
}

/// Who holds a lock, and what to do: `advice` if it is a process.
pub(super) fn name_of_holder<'a>(holder: &Holder, advice: &'a str) -> (String, &'a str) {
    let id = match holder {
        Holder::Process(id) => id,
        Holder::Unknown(path) => {
            let text = format!("somebody unknown: {} names no process", path.display());
            return (text, "if no program uses the line, remove that file: bangpath does not");
        }
    };
    let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    (format!("process {id} ({})", if name.trim().is_empty() { "unknown" } else { name.trim() }), advice)
}

/// A service that opens every new modem and talks to it.
pub(super) struct ModemManager {
    pub text: &'static str,
    pub advice: &'static str,
}

impl ModemManager {
    /// Whether it runs, and looks at devices of this kind.
    pub fn watches(device: &Path) -> Option<Self> {
        let real = device.canonicalize().ok()?;
        let name = real.file_name()?.to_string_lossy().into_owned();
        let is_modem = name.starts_with("ttyACM") || name.starts_with("ttyUSB");
        let runs = || {
            let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
            entries
                .map(|entry| entry.path().join("comm"))
                .any(|comm| fs::read_to_string(comm).is_ok_and(|name| name.trim() == "ModemManager"))
        };
        (is_modem && runs()).then_some(Self {
            text: "ModemManager runs: it opens such devices and sends them commands",
            advice: "a udev rule with ENV{ID_MM_DEVICE_IGNORE}=\"1\" keeps it off (hardware/README.md), or stop it",
        })
    }
}

async fn over_link(
    link: &mut Link,
    kind: &PortKind,
    told: &Doctor,
    wait: Duration,
    nudges: &mut Nudges,
    chart: &mut Chart,
) -> Result<(), Failure> {
    if let PortKind::Serial { .. } = kind {
        cable(link, chart)?;
    }
    if let PortKind::Serial { modem: Some(modem), .. } = kind
        && !reach(link, modem, told, wait, nudges, chart).await?
    {
        return Ok(());
    }
    if wait.is_zero() {
        return Ok(());
    }
    test(link, told, wait, nudges, chart).await
}

fn cable(link: &Link, chart: &mut Chart) -> Result<(), Failure> {
    let Some(state) = link.line_state() else {
        return chart.remark("cable", "this line has no DSR, CTS and carrier that could be read", "");
    };
    let word = |on: bool| if on { "on" } else { "off" };
    let text = format!(
        "DSR {}, CTS {}, carrier {}",
        word(state.data_set_ready),
        word(state.clear_to_send),
        word(state.carrier)
    );
    match (state.data_set_ready, state.clear_to_send) {
        (false, false) => {
            let advice =
                "is the other device on? with a cable of three wires write flow = \"none\" and carrier = false";
            chart.remark("cable", text, advice)
        }
        (_, false) => chart.remark("cable", text, "with flow = \"rts-cts\" nothing is sent until CTS is on"),
        (_, true) => chart.good("cable", text),
    }
}

/// The modem: whether it answers and what it is; and then, if it is to be, a connection. Says whether there is one.
async fn reach(
    link: &mut Link,
    modem: &Modem,
    told: &Doctor,
    wait: Duration,
    nudges: &mut Nudges,
    chart: &mut Chart,
) -> Result<bool, Failure> {
    let profile = &modem.profile;
    let mut prepare = Dial::preparing(now(), Profile::clone(profile));
    if let Err(why) = link::drive(link, &mut prepare, &[], nudges, now).await.0 {
        let advice = "is it on, at this speed, and is `modem` its profile? `bangpath terminal` lets you try AT by hand";
        chart.trouble("modem", why.to_string(), advice)?;
        return Ok(false);
    }
    let (told_by_it, _) = link::drive(link, &mut Identity::new(now()), &[], nudges, now).await;
    let identity = told_by_it.unwrap_or_default().join(", ");
    let identity = if identity.is_empty() { "it does not say what it is".to_owned() } else { identity };
    chart.good("modem", format!("takes the profile {}; {identity}", profile.name))?;
    let mut unread = Vec::new();
    let mut dial = match &modem.number {
        Some(number) => Dial::calling(now(), Profile::clone(profile), number),
        None if told.answer => {
            chart.remark("modem", "waiting for a call", "")?;
            let heard = tokio::time::timeout(wait, link.heard(false)).await;
            unread = heard.ok().and_then(Result::ok).unwrap_or_default();
            Dial::answering(now(), Profile::clone(profile), RINGS)
        }
        None => {
            let advice = "the line behind it is tested with --phone NUMBER or --site SITE";
            chart.remark("line", "not tested: the modem has no connection", advice)?;
            return Ok(false);
        }
    };
    match link::drive(link, &mut dial, &unread, nudges, now).await.0 {
        Ok(connection) => {
            call::connected(link, profile, &connection);
            let Connection { words, corrected, .. } = connection;
            let corrected = if corrected { ": the modems correct errors" } else { "" };
            chart.good("call", format!("{words}{corrected}"))?;
            Ok(true)
        }
        Err(why) => {
            chart.trouble("call", why.to_string(), "")?;
            Ok(false)
        }
    }
}

async fn test(
    link: &mut Link,
    told: &Doctor,
    wait: Duration,
    nudges: &mut Nudges,
    chart: &mut Chart,
) -> Result<(), Failure> {
    let facts = link.facts.clone();
    let depth = Depth::Thorough { wait };
    let outcome = if told.answer {
        chart.remark("line", format!("waiting for a partner, {} s", wait.as_secs()), "")?;
        let mut partner = Partner::new(now(), depth, facts.clone(), proto::speakable());
        link::drive(link, &mut partner, &[], nudges, now).await.0
    } else {
        // Any number: it only has to differ from that of another who asks at the same time.
        let number = std::process::id() ^ now().wall.as_micros() as u32;
        let mut asker = Asker::new(now(), depth, facts.clone(), number);
        link::drive(link, &mut asker, &[], nudges, now).await.0
    };
    match outcome {
        Ok(report) => diagnose(&facts, &report, chart),
        Err(LineTestFailure::Silence) if !told.answer => {
            let advice = "run `bangpath doctor PORT --answer` at the other end, or plug in a loop, and try again";
            chart.remark("line", format!("not tested: {}", LineTestFailure::Silence), advice)
        }
        Err(LineTestFailure::Talks) => {
            let advice = "a modem wants `modem` at the port; at a login, log in with `bangpath terminal` and run \
                          `bangpath doctor - --answer` there";
            chart.remark("line", format!("not tested: {}", LineTestFailure::Talks), advice)
        }
        Err(why) => chart.trouble("line", why.to_string(), ""),
    }
}

fn diagnose(facts: &Facts, report: &LineReport, chart: &mut Chart) -> Result<(), Failure> {
    let found = report.found(facts);
    if report.echo {
        way("there and back", &report.sent, chart)?;
    } else {
        way("sent", &report.sent, chart)?;
        way("received", &report.received, chart)?;
    }
    if let Some(time) = report.round_trip {
        chart.good("round trip", format!("{:.2} s", time.as_secs_f64()))?;
    }
    let advice = advice(facts, &found, report).join("; ");
    let letters = proto::suitable(&found, None);
    let text = if letters.is_empty() { "none that we speak".to_owned() } else { format!("best first: {letters}") };
    let state = if letters.is_empty() { State::Trouble } else { State::Good };
    let advice = (!advice.is_empty()).then_some(advice);
    chart.note(Finding { what: "protocols", state, text, advice, details: Some(details(&found, report, &letters)) })
}

fn way(what: &'static str, way: &Direction, chart: &mut Chart) -> Result<(), Failure> {
    let bits = match (way.is_eight_bit(), way.top_bit_lost) {
        (true, _) => "eight bits",
        (false, true) => "seven bits only",
        (false, false) => "not every character",
    };
    let mut text = bits.to_owned();
    for (set, word) in [(&way.lost, "lost"), (&way.changed, "changed")] {
        if !set.is_empty() {
            text.push_str(&format!(", {word}: {set} (hexadecimal)"));
        }
    }
    match way.speed {
        Some(speed) => text.push_str(&format!(", {speed} bit/s")),
        None => text.push_str(", too fast to measure"),
    }
    if way.damaged > 0 {
        text.push_str(&format!(", {} of {} damaged", way.damaged, count(u64::from(way.looked_at), "byte")));
    }
    match way.is_eight_bit() && way.passes_flow_control() && way.damaged == 0 {
        true => chart.good(what, text),
        false => chart.remark(what, text, ""),
    }
}

/// What to set, and what to look at.
fn advice(facts: &Facts, found: &Facts, report: &LineReport) -> Vec<String> {
    let mut advice = Vec::new();
    if facts.eight_bit && !found.eight_bit {
        advice.push("set both ends to eight bits without parity, or write eight-bit = false for the port".to_owned());
    } else if facts.transparent && !found.transparent {
        let text = "something takes XON and XOFF for flow control: use RTS/CTS there, or write transparent = false for the port";
        advice.push(text.to_owned());
    }
    let ways = [&report.sent, &report.received];
    let (damaged, looked_at) =
        ways.iter().fold((0u32, 0u32), |(d, l), way| (d.saturating_add(way.damaged), l.saturating_add(way.looked_at)));
    if damaged > 0 {
        let rate = f64::from(damaged) / f64::from(looked_at.max(1));
        let claimed = if facts.reliable { "write reliable = false for the port, and " } else { "" };
        advice
            .push(format!("about {rate:.0e} of the bytes are damaged: {claimed}look at cable, flow control and speed"));
    }
    if let Some(speed) = found.speed.filter(|_| found.speed != facts.speed) {
        advice.push(match facts.speed {
            Some(set) => {
                format!("the line carries {speed} bit/s, slower than the port's {set}: flow control must work")
            }
            None => format!("write speed = {speed} for the port, so that no more is sent ahead than the line carries"),
        });
    }
    advice
}

fn details(found: &Facts, report: &LineReport, letters: &str) -> Value {
    let way = |way: &Direction| {
        json!({
            "eight_bit": way.is_eight_bit(), "lost": way.lost.iter().collect::<Vec<_>>(),
            "changed": way.changed.iter().collect::<Vec<_>>(), "top_bit_lost": way.top_bit_lost,
            "bits_per_second": way.speed, "bytes": way.looked_at, "damaged": way.damaged,
        })
    };
    json!({
        "echo": report.echo, "sent": way(&report.sent), "received": way(&report.received),
        "round_trip_ms": report.round_trip.map(|time| time.as_millis() as u64),
        "eight_bit": found.eight_bit, "transparent": found.transparent, "protocols": letters,
    })
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::makedev;

    use super::*;

    #[test]
    fn a_terminal_is_told_by_its_number() {
        let check =
            |major, minor, expected| assert_eq!(is_terminal(makedev(major, minor)), expected, "{major}:{minor}");
        check(136, 0, true);
        check(143, 255, true);
        check(4, 64, true);
        check(188, 0, true);
        // null, zero, watchdogs, a tape that is rewound when it is closed.
        check(1, 3, false);
        check(1, 5, false);
        check(10, 130, false);
        check(250, 0, false);
        check(9, 0, false);
    }
}
