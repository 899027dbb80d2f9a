//! What i has sent and the peer has not acknowledged.

use std::collections::VecDeque;

use crate::base::time::Instant;
use crate::wire::packet::{I_OVERHEAD, IKind, IPacket};

/// A numbered packet that has been sent.
pub struct Sent {
    pub packet: IPacket,
    /// What of it is to be sent again.
    pub due: Option<Again>,
    pub times: u32,
    /// When it had last left.
    pub left: Instant,
}

pub enum Again {
    Whole,
    /// A patch with the pieces that are wrong at the peer.
    Pieces(Vec<u8>),
}

impl Sent {
    fn length(&self) -> usize {
        self.packet.data.len() + I_OVERHEAD
    }
}

/// Oldest first.
#[derive(Default)]
pub struct Outstanding(VecDeque<Sent>);

/// What one acknowledgement stands for.
pub struct Acknowledged {
    pub count: usize,
    pub bytes: usize,
    pub newest: Sent,
}

impl Outstanding {
    pub fn push(&mut self, packet: IPacket, left: Instant) {
        self.0.push_back(Sent { packet, due: None, times: 1, left });
    }

    /// Takes away the packets up to this number. `None`: it acknowledges nothing of ours, for anything but the window in
    /// use is stale or false.
    pub fn acknowledge(&mut self, number: u8) -> Option<Acknowledged> {
        let count = usize::from(number.wrapping_sub(self.0.front()?.packet.number).wrapping_add(1) & 31);
        if count > self.0.len() {
            return None;
        }
        let bytes = self.0.iter().take(count).map(Sent::length).sum();
        let newest = self.0.drain(..count).next_back()?;
        Some(Acknowledged { count, bytes, newest })
    }

    pub fn find(&mut self, number: u8) -> Option<&mut Sent> {
        self.0.iter_mut().find(|sent| sent.packet.number == number)
    }

    pub fn oldest(&mut self) -> Option<&mut Sent> {
        self.0.front_mut()
    }

    pub fn newest(&mut self) -> Option<&mut Sent> {
        self.0.back_mut()
    }

    /// What is to be sent again, of the oldest of which anything is.
    pub fn next_again(&mut self) -> Option<IPacket> {
        let sent = self.0.iter_mut().find(|sent| sent.due.is_some())?;
        sent.times += 1;
        Some(match sent.due.take()? {
            Again::Whole => sent.packet.clone(),
            Again::Pieces(data) => {
                let IPacket { number, local, remote, acknowledged, caller, .. } = sent.packet;
                IPacket { kind: IKind::Patch, number, local, acknowledged, remote, caller, data }
            }
        })
    }

    pub fn has_left(&mut self, number: u8, at: Instant) {
        if let Some(sent) = self.find(number) {
            sent.left = at;
        }
    }

    pub fn is_any_due(&self) -> bool {
        self.0.iter().any(|sent| sent.due.is_some())
    }

    /// Whether the oldest has been sent again, so that the others wait for it.
    pub fn is_in_repair(&self) -> bool {
        self.0.front().is_some_and(|oldest| oldest.times > 1)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// On the line, with what is around the data.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Sent::length).sum()
    }
}
