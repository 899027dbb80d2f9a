//! What comes to us in a session: files that they offer, files that we asked for, and what they ask of us.

use std::io;

use super::super::commands::{concerns_one_file, reason_of};
use super::super::{Deed, Ending, Inbox, Incoming, Refusal, Spread, Task, Wanted};
use super::{OurStage, Ours, PUT_OFF_MAX, Theirs, Transfer};
use crate::base::wishes::{CopyWishes, Reports};
use crate::base::words::with_causes;
use crate::dialogue::Stop;
use crate::proto::{Channel, Violation, Way};
use crate::wire::uucp::{Command, Features, Reply, Restart, SendCommand};

/// A file coming in.
pub(super) struct Arriving {
    /// `Err`: refused (why) or known already, the bytes are thrown away.
    inbox: Result<Box<dyn Inbox>, Refusal>,
    /// What is said at its end: `None` after a refusal, nothing.
    confirm: bool,
    /// What was here before, and whether the protocol counts its positions from there.
    kept: u64,
    base: u64,
    /// Where the next byte belongs.
    position: u64,
    /// What it must come to, where the peer's copy cannot have changed meanwhile.
    size: Option<u64>,
}

impl Transfer {
    pub(super) fn fetch_granted(&mut self, n: u8, task: Task, reply: &Reply) -> io::Result<()> {
        let Deed::Fetch { from, to, wishes, .. } = &task.deed else {
            unreachable!("only a fetch is ever asking");
        };
        let restart = reply.restart.filter(|_| self.features.has(Features::FETCH_RESTART));
        let incoming = Incoming {
            fetch: Some(task.id),
            from: from.clone(),
            to: to.clone(),
            user: task.user.clone(),
            temp: None,
            mode: reply.mode.unwrap_or(0o666),
            // SVR4 says there where it begins.
            size: reply.number.filter(|_| !self.features.has(Features::SVR4)),
            wishes: wishes.clone(),
            command: None,
            requestor: None,
            reports: Reports::default(),
            version: restart.map(|restart| restart.version),
            restart: restart.is_some(),
        };
        let begins = restart.map_or(0, |restart| restart.position);
        let admitted = self.desk.admit(&incoming).and_then(|inbox| goes_on(inbox, begins));
        let arriving = match admitted {
            Ok(inbox) => Arriving::new(inbox, self.many(), None),
            Err(why) => {
                tracing::warn!(site = %self.site, %why, "cannot take the file we asked for");
                Arriving::discarded(true, why)
            }
        };
        self.protocol.begin_file(Channel::Ours(n), Way::In);
        self.ours.insert(n, Ours { task, stage: OurStage::Fetching(arriving) });
        Ok(())
    }

    pub(super) fn handle_command(&mut self, channel: Channel, command: Command) -> io::Result<()> {
        let n = match channel {
            Channel::Theirs(n) if self.many() => n,
            Channel::Ours(_) | Channel::Theirs(_) => 1,
        };
        match command {
            Command::Send(send) => self.handle_offer(n, 'S', send, None),
            Command::Execute(send, command) => self.handle_offer(n, 'E', send, Some(command)),
            Command::Receive { from, to, user, size_max, position, restart, options: _ } => {
                self.handle_request(n, &Wanted { from, to, user, size_max }, position, restart)
            }
            Command::Expand { from, to, user, options } => {
                let wishes = CopyWishes::parse(&options, "");
                self.handle_spread(n, &Spread { from, to, user, wishes })
            }
            Command::Hangup => Ok(()),
        }
    }

    /// They offer a file.
    fn handle_offer(&mut self, n: u8, verb: char, send: SendCommand, command: Option<String>) -> io::Result<()> {
        let channel = Channel::Theirs(n);
        let restart = self.features.has(Features::RESTART);
        let requestor = (send.options.contains('R') && command.is_some()).then(|| send.notify.clone());
        let temp = Some(send.temp).filter(|t| t.starts_with('D') && t != "D.0");
        let exact = send.size.filter(|_| temp.is_some());
        let incoming = Incoming {
            fetch: None,
            from: send.from,
            to: send.to,
            user: send.user,
            temp,
            mode: send.mode,
            size: send.size,
            wishes: CopyWishes::parse(&send.options, &send.notify),
            command,
            requestor,
            // In E the letter `n` means nothing.
            reports: Reports::parse(&send.options.replace('n', "")),
            version: None,
            restart,
        };
        let admitted = match self.puts_off() {
            true => Err(Refusal::TooLargeNow),
            false => self.desk.admit(&incoming),
        };
        let (reply, arriving) = match admitted {
            Ok(inbox) => {
                let arriving = Arriving::new(inbox, self.many(), exact);
                let mut reply = Reply::yes(verb);
                reply.number = Some(arriving.kept).filter(|kept| *kept > 0);
                (reply, Some(arriving))
            }
            // Peers that know no sizes know no SN8 either: they get their confirmation, the bytes go nowhere.
            Err(Refusal::AlreadyHere) if !self.features.has(Features::SIZES) => {
                (Reply::yes(verb), Some(Arriving::discarded(true, Refusal::AlreadyHere)))
            }
            Err(why) => {
                tracing::info!(site = %self.site, to = incoming.to, %why, "we refuse a file");
                self.in_vain();
                let reply = Reply::no(verb, Some(reason_of(&why)));
                (reply, self.many().then(|| Arriving::discarded(false, why)))
            }
        };
        self.say(channel, &reply.print());
        if let Some(arriving) = arriving {
            // Also after a refusal: bytes that flow ahead of it are bytes of a file.
            self.protocol.begin_file(channel, Way::In);
            self.theirs.insert(n, Theirs::Arriving(arriving));
        }
        Ok(())
    }

    /// Whether what they want now waits for another call, since this one is to end. Peers that know no sizes know no
    /// "later" either: those are left at once.
    fn puts_off(&mut self) -> bool {
        let Some((how, why)) = self.stop.filter(|(how, _)| *how >= Stop::Orderly) else { return false };
        self.put_off += 1;
        if how == Stop::Now || self.put_off > PUT_OFF_MAX || !self.features.has(Features::SIZES) {
            self.ending.get_or_insert(Ending::Stopped(why));
        }
        true
    }

    /// They want files that we are to find.
    fn handle_spread(&mut self, n: u8, wanted: &Spread) -> io::Result<()> {
        let reply = match self.desk.expand(wanted) {
            Ok(()) => {
                self.drained = false;
                Reply::yes('X')
            }
            Err(why) => {
                tracing::info!(site = %self.site, from = wanted.from, to = wanted.to, %why, "we refuse to send files on");
                self.in_vain();
                Reply::no('X', None)
            }
        };
        self.say(Channel::Theirs(n), &reply.print());
        Ok(())
    }

    /// They ask for a file, as SVR4 from a position whatever the file, or as one of us, who holds the beginning of one.
    fn handle_request(
        &mut self,
        n: u8,
        wanted: &Wanted,
        position: Option<u64>,
        restart: Option<Restart>,
    ) -> io::Result<()> {
        let channel = Channel::Theirs(n);
        let served = match self.puts_off() {
            true => Err(Refusal::TooLargeNow),
            false => self.desk.serve(wanted),
        };
        match served {
            Ok(task) => {
                let Deed::Serve { mode, size, version } = task.deed else {
                    return Err(io::Error::other("the desk served something that is no file"));
                };
                // It holds more than there is, which can be no part of this file.
                if position.is_some_and(|position| position > size) {
                    tracing::info!(site = %self.site, from = wanted.from, size, ?position, "we refuse a request");
                    self.in_vain();
                    self.say(channel, &Reply::no('R', Some(reason_of(&Refusal::NotPermitted))).print());
                    return self.desk.refused(task.id, Refusal::NotPermitted);
                }
                let mut reply = Reply::yes('R');
                reply.mode = Some(mode);
                let same = restart.filter(|restart| restart.version == version).map(|restart| restart.position);
                let offset = position.or(same).unwrap_or(0).min(size);
                // SVR4 says there where it begins; who announces features hears the size.
                let as_svr4 = position.is_some() && self.features.has(Features::SVR4);
                reply.number = Some(if as_svr4 { offset } else { size });
                if self.features.has(Features::FETCH_RESTART) {
                    reply.restart = Some(Restart { position: offset, version });
                }
                if offset > 0 {
                    tracing::info!(site = %self.site, from = offset, size, "going on in the middle");
                }
                self.say(channel, &reply.print());
                self.protocol.begin_file(channel, Way::Out { bytes: size - offset });
                self.theirs.insert(n, Theirs::Serving { task: Box::new(task), size, offset, ended: false });
                self.streams.push_back(channel);
            }
            Err(why) => {
                tracing::info!(site = %self.site, from = wanted.from, %why, "we refuse a request");
                self.in_vain();
                self.say(channel, &Reply::no('R', Some(reason_of(&why))).print());
            }
        }
        Ok(())
    }

    /// `CY` or `CN` for a file that they asked for.
    pub(super) fn handle_their_confirmation(&mut self, n: u8, reply: Reply) -> io::Result<()> {
        match self.theirs.remove(&n) {
            Some(Theirs::Serving { task, size, .. }) if reply.verb == 'C' => {
                if !reply.yes {
                    return self.task_refused(&task, Refusal::CannotStore);
                }
                tracing::info!(site = %self.site, size, "served a file");
                self.totals.files_sent += 1;
                self.vain = 0;
                self.desk.finished(task.id)
            }
            other => {
                tracing::warn!(site = %self.site, reply = reply.print(), "an answer to nothing");
                self.in_vain();
                if let Some(theirs) = other {
                    self.theirs.insert(n, theirs);
                }
                Ok(())
            }
        }
    }

    pub(super) fn arriving(&mut self, channel: Channel) -> Option<&mut Arriving> {
        match self.resolve(channel) {
            Channel::Ours(n) => match &mut self.ours.get_mut(&n)?.stage {
                OurStage::Fetching(arriving) => Some(arriving),
                OurStage::Sending { .. } | OurStage::Asking => None,
            },
            Channel::Theirs(n) => match self.theirs.get_mut(&n)? {
                Theirs::Arriving(arriving) => Some(arriving),
                Theirs::Serving { .. } => None,
            },
        }
    }

    pub(super) fn handle_data(&mut self, channel: Channel, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.totals.bytes_received += bytes.len() as u64;
        match self.arriving(channel) {
            Some(arriving) => arriving.write(offset, bytes),
            None => {
                self.ending = Some(Ending::Violation(Violation::Rule("file bytes without a file")));
                Ok(())
            }
        }
    }

    /// The sum over a whole file was wrong: it goes, or comes, once more.
    pub(super) fn begin_again(&mut self, channel: Channel) -> io::Result<()> {
        tracing::warn!(site = %self.site, "a file was damaged on the way and goes again");
        if let Some(arriving) = self.arriving(channel) {
            return arriving.begin_again();
        }
        let channel = self.resolve(channel);
        let (offset, ended) = match channel {
            Channel::Ours(n) => match self.ours.get_mut(&n).map(|ours| &mut ours.stage) {
                Some(OurStage::Sending { offset, ended, .. }) => (offset, ended),
                _ => return Ok(()),
            },
            Channel::Theirs(n) => match self.theirs.get_mut(&n) {
                Some(Theirs::Serving { offset, ended, .. }) => (offset, ended),
                _ => return Ok(()),
            },
        };
        (*offset, *ended) = (0, false);
        self.streams.push_back(channel);
        Ok(())
    }

    pub(super) fn handle_end_of_file(&mut self, channel: Channel) -> io::Result<()> {
        let channel = self.resolve(channel);
        match channel {
            Channel::Ours(n) => match self.ours.remove(&n) {
                Some(Ours { task, stage: OurStage::Fetching(arriving) }) => {
                    match self.end_arriving(channel, arriving)? {
                        Ok(()) => self.desk.finished(task.id),
                        Err(why) => self.desk.refused(task.id, why),
                    }
                }
                Some(other) => {
                    self.ours.insert(n, other);
                    Ok(())
                }
                None => Ok(()),
            },
            Channel::Theirs(n) => match self.theirs.remove(&n) {
                Some(Theirs::Arriving(arriving)) => self.end_arriving(channel, arriving).map(drop),
                Some(other) => {
                    self.theirs.insert(n, other);
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }

    /// First the disk, then the word.
    fn end_arriving(&mut self, channel: Channel, arriving: Arriving) -> io::Result<Result<(), Refusal>> {
        let inbox = match arriving.inbox {
            Ok(inbox) => inbox,
            Err(why) => {
                if arriving.confirm {
                    let fetch = matches!(channel, Channel::Ours(_));
                    let reply = if fetch { Reply::no('C', Some(5)) } else { Reply::yes('C') };
                    self.say(channel, &reply.print());
                }
                return Ok(Err(why));
            }
        };
        if let Some(size) = arriving.size.filter(|size| *size != arriving.position) {
            tracing::warn!(site = %self.site, announced = size, came = arriving.position, "a file of another size than announced");
            self.say(channel, &Reply::no('C', Some(5)).print());
            return Ok(Err(Refusal::CannotStore));
        }
        match inbox.commit() {
            Ok(()) => {}
            // This one file has no place; the others go on.
            Err(error) if concerns_one_file(error.kind()) => {
                tracing::warn!(site = %self.site, error = with_causes(&error), "a file came and cannot be stored");
                self.say(channel, &Reply::no('C', Some(5)).print());
                return Ok(Err(Refusal::CannotStore));
            }
            Err(error) => return Err(error),
        }
        self.totals.files_received += 1;
        self.vain = 0;
        self.drained = false;
        self.say(channel, &Reply::yes('C').print());
        Ok(Ok(()))
    }
}

/// The inbox of a file that begins there at the peer.
fn goes_on(mut inbox: Box<dyn Inbox>, begins: u64) -> Result<Box<dyn Inbox>, Refusal> {
    let kept = inbox.kept();
    if kept == begins {
        return Ok(inbox);
    }
    let why = if begins == 0 { inbox.forget().err() } else { Some(io::ErrorKind::InvalidData.into()) };
    match why {
        None => Ok(inbox),
        Some(error) => {
            tracing::warn!(kept, begins, %error, "a file does not go on where it stopped");
            Err(Refusal::CannotCreate)
        }
    }
}

impl Arriving {
    fn new(inbox: Box<dyn Inbox>, positions: bool, size: Option<u64>) -> Self {
        let kept = inbox.kept();
        // Where bytes flow ahead of our answer they begin at zero; elsewhere they begin where we said.
        let base = if positions { 0 } else { kept };
        Self { inbox: Ok(inbox), confirm: true, kept, base, position: kept, size }
    }

    pub(super) fn discarded(confirm: bool, why: Refusal) -> Self {
        Self { inbox: Err(why), confirm, kept: 0, base: 0, position: 0, size: None }
    }

    fn begin_again(&mut self) -> io::Result<()> {
        (self.kept, self.base, self.position) = (0, 0, 0);
        self.inbox.as_mut().map_or(Ok(()), |inbox| inbox.forget())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let Ok(inbox) = &mut self.inbox else { return Ok(()) };
        let mut at = self.base.saturating_add(offset);
        let known = usize::try_from(self.kept.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        at += known as u64;
        let bytes = &bytes[known..];
        if bytes.is_empty() {
            return Ok(());
        }
        if self.size.is_some_and(|size| at + bytes.len() as u64 > size) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is longer than the peer announced"));
        }
        if at > self.position {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer left out a part of the file"));
        }
        inbox.write(at, bytes)?;
        self.position = self.position.max(at + bytes.len() as u64);
        Ok(())
    }
}
