//! A line on which callers are waited for, as a getty does, while others may use it to call out.

use std::sync::Arc;
use std::time::Duration;

use super::{CallError, Context, Modem, Origin, PortKind, Progress, StatedLine, Unmet, converse, line};
use crate::base::limits::WRONG_LOGINS_WITHIN_S;
use crate::base::names::PortName;
use crate::base::words::with_causes;
use crate::dialogue::Nudge;
use crate::link::{self, Link, LinkError, Nudges, Place, SerialLine, Tnc, TncLine};
use crate::session::chat::Script;
use crate::session::dial::{Dial, DialFailure, Profile};
use crate::store::{Lock, LockKind};

/// A modem that somebody has switched off and on has forgotten what it was told.
const PREPARE_AGAIN: Duration = Duration::from_secs(1800);

/// How often it is looked whether another of our processes wants what one alone can have: a radio, or a line at a server.
const WANTED_LOOK: Duration = Duration::from_secs(1);

/// A port where callers are waited for.
#[derive(Debug, Clone)]
pub struct AnsweringPort {
    pub name: PortName,
    pub kind: PortKind,
    pub stated: StatedLine,
    /// How often a modem rings before it is answered.
    pub rings: u32,
    /// What is heard from and said to a caller before the login; empty: nothing.
    pub chat: Script,
    /// Whether callers must log in.
    pub ask_login: bool,
}

/// What became of waiting for a caller.
#[derive(Debug)]
pub enum Attended {
    /// Somebody called; how it went has been recorded.
    Call(Result<(), CallError>),
    /// Nobody did, and it is time to look at the line anew.
    Nobody,
    /// Another program uses the line.
    Busy,
    /// There were too many wrong logins on it: it is left alone for now.
    Barred,
    /// The program winds down.
    Stopped,
}

/// Waits on a line until somebody calls, and answers. While nobody does, the line belongs to whoever wants it.
pub async fn attend(context: &Context, port: &AnsweringPort, nudges: &mut Nudges) -> Result<Attended, CallError> {
    let name = &port.name;
    if is_barred(context, port) {
        return Ok(Attended::Barred);
    }
    let (settings, modem, carrier) = match &port.kind {
        PortKind::Serial { line, modem, carrier } => (line, modem, carrier),
        PortKind::Radio { line, .. } => return attend_radio(context, port, line, nudges).await,
        PortKind::Tcp { .. } | PortKind::Pipe { .. } => {
            unreachable!("the configuration has only lines and radios answer")
        }
    };
    let Some(lock) = context.store.lock(LockKind::Port, name.as_str())? else { return Ok(Attended::Busy) };
    let mut link = match line::open_serial(settings).await {
        Err(LinkError::Busy { .. }) => return Ok(Attended::Busy),
        opened => opened?,
    };
    port.stated.describe(&mut link.facts);
    if let Some(Modem { profile, .. }) = modem {
        let mut prepare = Dial::preparing((context.clock)(), Profile::clone(profile));
        link::drive(&mut link, &mut prepare, &[], nudges, context.clock).await.0?;
    }
    link.give_up_line();
    drop(lock);
    let mut unread = match wait(context, port, settings, &mut link, nudges).await? {
        Waited::Input(heard) => heard,
        Waited::Ended(outcome) => {
            link.close().await;
            return Ok(outcome);
        }
    };
    // The modem may be talking to another program.
    let Some(_lock) = claim(context, name, &mut link)? else { return Ok(Attended::Busy) };
    if let Some(Modem { profile, .. }) = modem {
        let mut dial = Dial::answering((context.clock)(), Profile::clone(profile), port.rings);
        let (outcome, rest) = link::drive(&mut link, &mut dial, &unread, nudges, context.clock).await;
        match outcome {
            Ok(connection) => line::connected(&mut link, profile, &connection),
            Err(DialFailure::Unwanted) => return Ok(Attended::Nobody),
            Err(why) => return Err(why.into()),
        }
        unread = rest;
    } else if *carrier {
        link.watch_carrier();
    }
    tracing::info!(port = %name, link = %link.facts, "somebody calls");
    let progress = Arc::new(Progress::default());
    let caller = Unmet { chat: port.chat.clone(), unread, from: Some(origin(port)), ..Unmet::new(port.ask_login) };
    let result = converse(context, &mut link, caller, &progress, nudges).await;
    warn_of_guesses(context, port);
    line::hang_up(&mut link, &port.kind, true, nudges, context.clock).await;
    link.close().await;
    Ok(Attended::Call(result.map(drop)))
}

fn origin(port: &AnsweringPort) -> Origin {
    Origin::Port(port.name.clone())
}

fn is_barred(context: &Context, port: &AnsweringPort) -> bool {
    port.ask_login && origin(port).is_barred(context)
}

fn warn_of_guesses(context: &Context, port: &AnsweringPort) {
    if is_barred(context, port) {
        let minutes = WRONG_LOGINS_WITHIN_S / 60;
        tracing::warn!(port = %port.name, minutes, "too many wrong logins there: nobody is answered for a while");
    }
}

/// Waits for a station to call. The radio is given up as soon as another of our processes wants it.
async fn attend_radio(
    context: &Context,
    port: &AnsweringPort,
    radio: &TncLine,
    nudges: &mut Nudges,
) -> Result<Attended, CallError> {
    let name = &port.name;
    if context.store.lock(LockKind::Port, name.as_str())?.is_none() {
        return Ok(Attended::Busy);
    }
    let tnc = Tnc::reach(radio).await?;
    let mut link = tokio::select! {
        link = tnc.listen() => link?,
        () = wound_down(nudges) => return Ok(Attended::Stopped),
        wanted = wanted(context, name) => return wanted.map(|()| Attended::Busy),
    };
    port.stated.describe(&mut link.facts);
    let Some(_lock) = context.store.lock(LockKind::Port, name.as_str())? else { return Ok(Attended::Busy) };
    tracing::info!(port = %name, link = %link.facts, "a station calls");
    let progress = Arc::new(Progress::default());
    // Its call sign is the login of a station that is asked for none.
    let login = (!port.ask_login).then(|| link.facts.peer.clone());
    let caller = Unmet { chat: port.chat.clone(), login, from: Some(origin(port)), ..Unmet::new(port.ask_login) };
    let result = converse(context, &mut link, caller, &progress, nudges).await;
    warn_of_guesses(context, port);
    link.disconnect().await;
    Ok(Attended::Call(result.map(drop)))
}

/// Returns when the program winds down.
async fn wound_down(nudges: &mut Nudges) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match nudges.recv().await {
            Ok(Nudge::WindDown | Nudge::HangUp) | Err(RecvError::Closed) => return,
            Ok(Nudge::Store) | Err(RecvError::Lagged(_)) => {}
        }
    }
}

fn claim(context: &Context, name: &PortName, link: &mut Link) -> Result<Option<Lock>, CallError> {
    let Some(lock) = context.store.lock(LockKind::Port, name.as_str())? else { return Ok(None) };
    match link.take_line() {
        Ok(()) => Ok(Some(lock)),
        Err(LinkError::Busy { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns when another of our processes wants a port.
async fn wanted(context: &Context, name: &PortName) -> Result<(), CallError> {
    while !context.store.is_locked(LockKind::Port, name.as_str())? {
        tokio::time::sleep(WANTED_LOOK).await;
    }
    Ok(())
}

enum Waited {
    /// With what has been read of it.
    Input(Vec<u8>),
    Ended(Attended),
}

async fn wait(
    context: &Context,
    port: &AnsweringPort,
    settings: &SerialLine,
    link: &mut Link,
    nudges: &mut Nudges,
) -> Result<Waited, CallError> {
    let at_server = matches!(settings.place, Place::Server(_));
    // A modem says that it rings; who is at the other end of a cable may say nothing before the prompt.
    let carrier_counts = matches!(port.kind, PortKind::Serial { modem: None, carrier: true, .. });
    tokio::select! {
        heard = link.heard(carrier_counts) => match heard {
            Ok(bytes) => Ok(Waited::Input(bytes)),
            Err(error) => {
                tracing::debug!(port = %port.name, error = with_causes(&error), "waiting for callers");
                Err(DialFailure::LineLost.into())
            }
        },
        wanted = wanted(context, &port.name), if at_server => wanted.map(|()| Waited::Ended(Attended::Busy)),
        () = wound_down(nudges) => Ok(Waited::Ended(Attended::Stopped)),
        () = tokio::time::sleep(PREPARE_AGAIN) => Ok(Waited::Ended(Attended::Nobody)),
    }
}
