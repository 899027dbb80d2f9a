//! Damaged packets that wait for the pieces that are wrong in them.

use std::collections::BTreeMap;

use crate::wire::patch;

/// Those with less data go again as a whole: that costs no more.
const LENGTH_MIN: usize = 64;
/// How often the pieces of one are asked for.
const TRIES_MAX: u32 = 3;

/// By number; no more of them than the window has.
#[derive(Default)]
pub struct Torn(BTreeMap<u8, Packet>);

struct Packet {
    data: Vec<u8>,
    /// How often its pieces were asked for.
    tries: u32,
}

impl Torn {
    pub fn keep(&mut self, number: u8, data: Vec<u8>) {
        if data.len() >= LENGTH_MIN {
            self.0.insert(number, Packet { data, tries: 0 });
        }
    }

    pub fn forget(&mut self, number: u8) {
        self.0.remove(&number);
    }

    pub fn holds(&self, number: u8) -> bool {
        self.0.contains_key(&number)
    }

    /// Whether pieces will mend it, as far as anybody knows.
    pub fn is_fresh(&self, number: u8) -> bool {
        self.0.get(&number).is_some_and(|packet| packet.tries == 0)
    }

    /// What to tell the sender of it, so that it sends the pieces. `None`: it is to be asked for as a whole.
    pub fn sums(&mut self, number: u8) -> Option<Vec<u8>> {
        let packet = self.0.get_mut(&number)?;
        packet.tries += 1;
        if packet.tries > TRIES_MAX {
            self.forget(number);
            return None;
        }
        Some(patch::sums(&packet.data))
    }

    /// The data of the packet, now that the pieces have come; `None` if they do not make it whole, and then they never will.
    pub fn mend(&mut self, number: u8, patch: &[u8]) -> Option<Vec<u8>> {
        patch::mend(self.0.remove(&number)?.data, patch)
    }
}
