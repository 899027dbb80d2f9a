//! The installation: configuration, spool, daemon, services, ports, and what has been left lying.

use std::fs;
use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::Chart;
use super::port::{DeviceTrouble, ModemManager, device_trouble, name_of_holder};
use super::user::{User, name_or_number};
use crate::base::time::Timestamp;
use crate::base::words::count;
use crate::call::{PortKind, Site};
use crate::cli::{Failure, Here, Opened, spool_trouble, ui};
use crate::config::{Config, Port};
use crate::link::{LockFile, Place};
use crate::store::sites::SiteState;
use crate::store::{self, HopTotals, LockKind, Store, StoreError};

/// 2025-01-01: before this no bangpath was built, so a clock that says so has stopped or lost its battery.
const CLOCK_MIN: Timestamp = Timestamp::from_seconds(1_735_689_600);
/// 20 years later no machine runs what was built then, so a clock that says so was set wrong: often to 2106 or 9999.
const CLOCK_MAX: Timestamp = Timestamp::from_seconds(2_366_841_600);
/// What helps a database that cannot be read.
const RECOVER: &str =
    "stop the daemon, keep a copy of the spool, and restore the last backup, or try sqlite3's .recover";
/// A site that has not been reached for so long, though something waits or it should be polled.
const LONG: Duration = Duration::from_secs(3 * 24 * 3600);
/// Failures in a row that are worth a look.
const FAILURES: u32 = 5;
/// How long a service of ours may take to answer a connection.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn examine(here: &Here, chart: &mut Chart) -> Result<(), Failure> {
    let config = match here.config() {
        Ok(config) => config,
        Err(failure) => {
            for line in failure.to_string().lines() {
                chart.trouble("configuration", line, "")?;
            }
            return chart.remark("rest", "not looked at: without a configuration nobody knows where it is", "");
        }
    };
    chart.good("configuration", format!("{}: no complaints", config.path.display()))?;
    // Before the store, which does not open on a full disk.
    spool(&config, chart)?;
    let store = match Store::open(&config.spool) {
        Ok(store) => store,
        Err(error) => {
            let advice = advice_for(&error);
            let failure = spool_trouble(&config.spool, error);
            return chart.trouble("spool", failure.to_string(), advice);
        }
    };
    let context = crate::daemon::context(&config, store.clone());
    let opened = Opened { config, store, context };
    owners(&opened.config, chart)?;
    database(&opened, chart)?;
    clock(&opened, chart)?;
    let runs = opened.store.is_locked(LockKind::Daemon, "daemon")?;
    if runs {
        chart.good("daemon", "it runs")?;
    } else {
        let how = "start it: `systemctl start bangpath`, or `bangpath run` by hand";
        chart.remark("daemon", "it does not run: nobody calls, answers or delivers", how)?;
    }
    services(&opened, runs, chart)?;
    ports(&opened, chart)?;
    dead_letters(&opened, chart)?;
    sites(&opened, chart)
}

fn spool(config: &Config, chart: &mut Chart) -> Result<(), Failure> {
    // A new spool will be where its folder is.
    let place = config.spool.ancestors().find(|folder| folder.exists()).unwrap_or(&config.spool);
    let (free, reserve) = match store::free_space(place) {
        Ok(free) => (free, config.reserve),
        Err(error) => return chart.trouble("spool", spool_trouble(&config.spool, error).to_string(), ""),
    };
    let text = format!("{}: {} free", config.spool.display(), ui::bytes(free));
    if free < reserve {
        let advice = format!("make room: with less than {} (`reserve`) nothing more is taken", ui::bytes(reserve));
        return chart.trouble("spool", text, &advice);
    }
    if free < reserve.saturating_mul(2) {
        return chart.remark("spool", text, "make room: it is nearly full");
    }
    chart.good("spool", text)
}

/// What belongs to another user than the spool cannot be used by the daemon.
fn owners(config: &Config, chart: &mut Chart) -> Result<(), Failure> {
    let owner = |path: &Path| fs::symlink_metadata(path).map(|facts| facts.uid());
    let Ok(ours) = owner(&config.spool) else { return Ok(()) };
    let name = name_or_number(ours);
    let mut wrong = Vec::new();
    let below = ["", "locks", "partial", "bodies"].map(|folder| config.spool.join(folder));
    for folder in below {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        wrong.extend(entries.map(|entry| entry.path()).filter(|path| owner(path).is_ok_and(|other| other != ours)));
    }
    wrong.sort();
    match wrong.first() {
        None => chart.good("owner", format!("the spool and all in it belong to {name}")),
        Some(first) => {
            let text = format!(
                "{} in the spool, such as {}, not {name}'s",
                count(wrong.len() as u64, "file"),
                first.display()
            );
            chart.trouble("owner", text, &format!("give them back: chown -R {name} {}", config.spool.display()))
        }
    }
}

fn database(opened: &Opened, chart: &mut Chart) -> Result<(), Failure> {
    let damage = opened.store.read::<_, StoreError>(|view| view.damage());
    let found = match damage {
        Ok(found) => found,
        Err(error) => vec![Failure::from(error).to_string()],
    };
    if found.is_empty() {
        return chart.good("database", "whole");
    }
    chart.trouble("database", found.join("; "), RECOVER)
}

/// What to do about a store that does not open, beyond what the error says.
fn advice_for(error: &StoreError) -> &'static str {
    match error {
        _ if error.is_damage() => RECOVER,
        StoreError::Full(_) => "make room on that disk",
        // Said by the error itself.
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::InvalidData => "",
        StoreError::Io { .. } | StoreError::Database { .. } | StoreError::Damaged(_) => {
            "look whether the disk is mounted, writable and whole; `dmesg` tells of its errors"
        }
        StoreError::Schema { .. } => "",
    }
}

fn clock(opened: &Opened, chart: &mut Chart) -> Result<(), Failure> {
    let now = opened.context.now();
    let last = opened.store.read::<_, StoreError>(|view| {
        let states = opened.config.sites.iter().map(|site| view.site_state(&site.name));
        Ok(states.collect::<Result<Vec<_>, _>>()?.iter().filter_map(|state| state.last_call).max())
    })?;
    let advice = "set it, or have it set by NTP or a clock with a battery: schedules and retries go by it";
    match clock_trouble(now, last) {
        Some(why) => chart.trouble("clock", format!("it says {now}, {why}"), advice),
        None => chart.good("clock", now.to_string()),
    }
}

fn clock_trouble(now: Timestamp, last_call: Option<Timestamp>) -> Option<String> {
    match last_call {
        _ if now < CLOCK_MIN => Some("which is long past".to_owned()),
        _ if now > CLOCK_MAX => Some("which is far ahead".to_owned()),
        Some(last) if last > now => Some(format!("and the last call was at {last}")),
        Some(_) | None => None,
    }
}

/// Whether our services answer where they should listen. The daemon has noted where it does.
fn services(opened: &Opened, runs: bool, chart: &mut Chart) -> Result<(), Failure> {
    let listen = &opened.config.listen;
    let wanted = [&listen.smtp, &listen.nntp, &listen.uucp, &listen.uucp_telnet];
    if !runs || wanted.iter().all(|service| service.is_none()) {
        return Ok(());
    }
    let noted = fs::read_to_string(opened.config.spool.join("listening")).unwrap_or_default();
    for line in noted.lines() {
        let Some((service, address)) = line.split_once(' ') else { continue };
        // A line that is lent says nothing of its own.
        let greets = !service.starts_with("share");
        match reach(address.rsplit(' ').next().unwrap_or(address), greets) {
            Ok(()) => chart.good("service", line)?,
            Err(error) => {
                let advice = "look into the daemon's log; a firewall on this machine may be in the way";
                chart.trouble("service", format!("{line}: {error}"), advice)?;
            }
        }
    }
    Ok(())
}

/// Connects, which the kernel does for a daemon that hangs, too; so the first words are waited for.
fn reach(address: &str, greets: bool) -> io::Result<()> {
    if address.starts_with('/') {
        let stream = connect_unix(address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        return if greets { greeting(stream) } else { Ok(()) };
    }
    // What listens everywhere listens here.
    let address = address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:");
    let first = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let stream = TcpStream::connect_timeout(&first, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    if greets { greeting(stream) } else { Ok(()) }
}

/// Without waiting for a place among those that nobody accepts.
fn connect_unix(path: &str) -> io::Result<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn greeting(mut stream: impl Read) -> io::Result<()> {
    let mut words = [0; 200];
    match stream.read(&mut words) {
        // RFC 5321 section 3.8, RFC 3977 section 5.1
        Ok(length) if words.starts_with(b"4") => {
            Err(io::Error::other(format!("it says `{}`", String::from_utf8_lossy(&words[..length]).trim())))
        }
        Ok(1..) => Ok(()),
        Ok(0) => Err(io::Error::other("it hangs up at once")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            let text = format!("it connects and says nothing within {} s: it hangs", ANSWER_TIMEOUT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
        Err(error) => Err(error),
    }
}

fn ports(opened: &Opened, chart: &mut Chart) -> Result<(), Failure> {
    let user = User::of(&opened.config.spool);
    for Port { name: port, kind, .. } in &opened.config.ports {
        let PortKind::Serial { line, .. } = kind else { continue };
        let Place::Device { path, locks } = &line.place else { continue };
        if let Some(DeviceTrouble { text, advice, doubtful }) = device_trouble(path, user.as_ref()) {
            let text = format!("{port}: {text}");
            match doubtful {
                true => chart.remark("port", text, &advice)?,
                false => chart.trouble("port", text, &advice)?,
            }
            continue;
        }
        let us = user.as_ref().map_or("us", |user| &user.name);
        chart.good("port", format!("{port}: {} is there, and open to {us}", path.display()))?;
        if let Some(holder) = locks.as_ref().and_then(|folder| LockFile::holder(folder, path)) {
            let usual = "as it should be, if that is a call of ours or of another program";
            let (name, advice) = name_of_holder(&holder, usual);
            chart.remark("port", format!("{port}: in use by {name}"), advice)?;
        }
        if let Some(manager) = ModemManager::watches(path) {
            chart.remark("port", format!("{port}: {}", manager.text), manager.advice)?;
        }
    }
    let folders: std::collections::BTreeSet<_> =
        opened.config.ports.iter().filter_map(|port| locks_of(&port.kind)).collect();
    for folder in folders {
        for (path, id) in LockFile::dead(folder) {
            let text = format!("{}: left by process {id}, which is dead", path.display());
            chart.remark("lock", text, "nothing: who wants the line next removes it")?;
        }
    }
    Ok(())
}

fn locks_of(kind: &PortKind) -> Option<&Path> {
    let PortKind::Serial { line, .. } = kind else { return None };
    match &line.place {
        Place::Device { locks, .. } => locks.as_deref(),
        Place::Server(_) => None,
    }
}

fn dead_letters(opened: &Opened, chart: &mut Chart) -> Result<(), Failure> {
    let letters = opened.store.read::<_, StoreError>(|view| view.dead_letters())?;
    match letters.len() as u64 {
        0 => chart.good("dead letters", "none"),
        number => {
            let advice = "`bangpath dead list` says why; then `dead retry` or `dead drop` each";
            chart.remark("dead letters", count(number, "dead letter"), advice)
        }
    }
}

fn sites(opened: &Opened, chart: &mut Chart) -> Result<(), Failure> {
    let now = opened.context.now();
    let (states, totals) = opened.store.read::<_, StoreError>(|view| {
        let states =
            opened.config.sites.iter().map(|site| view.site_state(&site.name)).collect::<Result<Vec<_>, _>>()?;
        Ok((states, view.totals()?))
    })?;
    for (site, state) in opened.config.sites.iter().zip(states) {
        let advice = format!("`bangpath site show {}` says more", site.name);
        match ailment(now, site, &state, &totals) {
            Some(text) => chart.remark("site", format!("{}: {text}", site.name), &advice)?,
            None => {
                let last = state.last_success.map_or("no call yet".to_owned(), |at| format!("last reached {at}"));
                chart.good("site", format!("{}: {last}", site.name))?;
            }
        }
    }
    Ok(())
}

fn ailment(now: Timestamp, site: &Site, state: &SiteState, totals: &[HopTotals]) -> Option<String> {
    let own = |total: &&HopTotals| matches!(&total.hop, crate::store::Hop::Site(name) if *name == site.name);
    let waiting: u64 = totals.iter().filter(own).map(|total| total.items).sum();
    let last = state.last_result.as_deref().unwrap_or("no call yet");
    if let Some(reason) = &state.held {
        return Some(format!("held ({reason}); {} waiting", count(waiting, "item")));
    }
    if state.failures >= FAILURES {
        return Some(format!("{} in a row failed; the last: {last}", count(u64::from(state.failures), "call")));
    }
    let expected = waiting > 0 || site.poll_every.is_some();
    match (state.last_success, state.last_call) {
        (Some(at), _) if expected && now.since(at) > LONG => {
            Some(format!("not reached since {at}, {} waiting; the last call: {last}", count(waiting, "item")))
        }
        (None, Some(_)) => Some(format!("never reached; the last call: {last}")),
        (Some(_) | None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_cannot_be_right_is_complained_of() {
        let check = |date: &str, last_call: Option<&str>, expected: Option<&str>| {
            let at = |date: &str| Timestamp::from_jiff(format!("{date}T00:00:00Z").parse().expect("a date"));
            let found = clock_trouble(at(date), last_call.map(at));
            assert_eq!(found.as_deref(), expected, "{date} {last_call:?}");
        };
        check("1970-01-01", None, Some("which is long past"));
        check("2024-12-31", None, Some("which is long past"));
        check("2025-01-01", None, None);
        check("2045-01-01", Some("2044-12-31"), None);
        check("2045-01-02", Some("2044-12-31"), Some("which is far ahead"));
        check("9999-12-30", None, Some("which is far ahead"));
        check("2026-01-01", Some("2026-01-02"), Some("and the last call was at 2026-01-02 00:00:00Z"));
    }
}
