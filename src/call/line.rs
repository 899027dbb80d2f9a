//! The line of a call: opened, dialled, and hung up, so that nothing of one call is left for the next.

use std::sync::Arc;
use std::time::Duration;

use super::{CallError, PortKind, Site, Way};
use crate::dialogue::Facts;
use crate::link::{self, Clock, Link, LinkError, Nudges, SerialLine, Speaks, Tnc};
use crate::session::chat::Chat;
use crate::session::dial::{Connection, Dial, DialFailure, HangUp, Profile};

/// How often a serial port at a server is tried that is in use: we ourselves may wait for callers on it, and then give it
/// up within a second.
const BUSY_TRIES: u32 = 6;
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// A modem on a serial port.
#[derive(Debug, Clone)]
pub struct Modem {
    pub profile: Arc<Profile>,
    /// Its number is dialled; `None`: the port only answers.
    pub number: Option<String>,
}

/// Opens a port, as far as the first byte.
pub async fn open_port(kind: &PortKind) -> Result<Link, LinkError> {
    match kind {
        PortKind::Serial { line, .. } => open_serial(line).await,
        PortKind::Tcp { address, telnet: false } => link::connect(address).await,
        PortKind::Tcp { address, telnet: true } => Ok(link::connect(address).await?.over_telnet(Speaks::Telnet)),
        PortKind::Pipe { command } => link::spawn(command),
        PortKind::Radio { line, station: Some(station) } => Tnc::reach(line).await?.call(station).await,
        PortKind::Radio { line, station: None } => Tnc::reach(line).await?.listen().await,
    }
}

/// Opens a serial line, ours or at a server.
pub(super) async fn open_serial(line: &SerialLine) -> Result<Link, LinkError> {
    for _ in 1..BUSY_TRIES {
        match link::open_serial(line).await {
            Err(LinkError::SerialServerBusy(_)) => tokio::time::sleep(BUSY_PAUSE).await,
            opened => return opened,
        }
    }
    link::open_serial(line).await
}

pub(super) async fn open(way: &Way) -> Result<Link, LinkError> {
    let mut link = open_port(&way.kind).await?;
    way.stated.describe(&mut link.facts);
    Ok(link)
}

/// What the configuration says of a line that the port's own nature does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatedLine {
    /// Whether bytes pass undamaged.
    pub reliable: Option<bool>,
    /// Whether one side sends at a time.
    pub half_duplex: Option<bool>,
    /// Bits per second, where a slow line lies behind a program or a TCP address.
    pub speed: Option<u32>,
    /// Whether every byte value passes, XON and XOFF apart; and whether those do.
    pub eight_bit: Option<bool>,
    pub transparent: Option<bool>,
}

impl StatedLine {
    /// Puts it into what is known of the link.
    pub fn describe(&self, facts: &mut Facts) {
        facts.speed = facts.speed.or(self.speed);
        if let Some(reliable) = self.reliable {
            facts.reliable = reliable;
            facts.end_to_end &= reliable;
        }
        facts.full_duplex = self.half_duplex.map_or(facts.full_duplex, |half| !half);
        facts.eight_bit &= self.eight_bit.unwrap_or(true);
        facts.transparent &= self.transparent.unwrap_or(true);
    }
}

/// Dials, where there is a modem. Gives what the peer has said already.
pub(super) async fn dial(
    link: &mut Link,
    kind: &PortKind,
    nudges: &mut Nudges,
    clock: Clock,
) -> Result<Vec<u8>, DialFailure> {
    let mut unread = Vec::new();
    match kind {
        PortKind::Serial { modem: Some(Modem { profile, number: Some(number) }), .. } => {
            let mut dial = Dial::calling(clock(), Profile::clone(profile), number);
            let (outcome, rest) = link::drive(link, &mut dial, &[], nudges, clock).await;
            connected(link, profile, &outcome?);
            unread = rest;
        }
        PortKind::Serial { carrier: true, .. } => link.watch_carrier(),
        PortKind::Serial { .. } | PortKind::Tcp { .. } | PortKind::Pipe { .. } | PortKind::Radio { .. } => {}
    }
    Ok(unread)
}

/// Logs in, where that is wanted; `unread` is what the peer has said already. Gives what it said behind that.
pub(super) async fn log_in(
    link: &mut Link,
    site: &Site,
    way: &Way,
    unread: Vec<u8>,
    nudges: &mut Nudges,
    clock: Clock,
) -> Result<Vec<u8>, CallError> {
    let unread = match &way.chat_program {
        Some(program) => program.run(link, site, unread, nudges).await.map_err(CallError::ChatProgram)?,
        None => unread,
    };
    if way.chat.is_empty() {
        return Ok(unread);
    }
    let credentials = site.credentials.as_ref().map(|c| c.0.clone()).unwrap_or_default();
    let mut chat = Chat::new(clock(), &way.chat, credentials);
    let (outcome, rest) = link::drive(link, &mut chat, &unread, nudges, clock).await;
    outcome?;
    Ok(rest)
}

/// What the modem has said of the connection counts from now on.
pub fn connected(link: &mut Link, profile: &Profile, connection: &Connection) {
    tracing::info!(link = %link.facts, words = connection.words, "connected");
    if let Some(speed) = connection.speed {
        if !profile.fixed_speed {
            link.set_speed(speed);
        }
        // Modems that compress take more than they carry, and stop us where it is too much.
        let may_be_more = connection.compressed && profile.fixed_speed;
        link.facts.speed =
            Some(link.facts.speed.map_or(speed, |cable| if may_be_more { cable } else { cable.min(speed) }));
    }
    link.facts.reliable |= connection.corrected;
    if profile.carrier {
        link.watch_carrier();
    }
}

/// Hangs up: by the line's own means, and where they do nothing and the modem may be `connected` by its escape.
pub async fn hang_up(link: &mut Link, kind: &PortKind, connected: bool, nudges: &mut Nudges, clock: Clock) {
    let modem = match kind {
        PortKind::Serial { modem: Some(modem), .. } => modem,
        PortKind::Radio { .. } => return link.disconnect().await,
        PortKind::Serial { modem: None, .. } | PortKind::Tcp { .. } | PortKind::Pipe { .. } => return,
    };
    if !link.drop_carrier().await && connected {
        let mut hang_up = HangUp::new(clock(), &modem.profile);
        let _ = link::drive(link, &mut hang_up, &[], nudges, clock).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Facts;
    use crate::session::dial::tests::profile;

    #[test]
    fn a_line_is_as_fast_as_its_modems_and_as_its_cable_where_they_compress() {
        let check = |compressed: bool, fixed_speed: bool, expected: u32| {
            let (near, _far) = tokio::io::duplex(1);
            let (reader, writer) = tokio::io::split(near);
            let mut link = Link::new(Facts::serial("line", 57_600), reader, writer);
            let connection = Connection { speed: Some(14_400), corrected: true, compressed, words: String::new() };
            super::connected(&mut link, &Profile { fixed_speed, ..profile() }, &connection);
            assert_eq!((link.facts.speed, link.facts.reliable), (Some(expected), true), "{compressed} {fixed_speed}");
        };
        check(false, true, 14_400);
        check(true, true, 57_600);
        check(true, false, 14_400);
    }
}
