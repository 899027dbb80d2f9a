//! How many clients a service has at the same time, in all and of one address: nobody alone keeps the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::limits::{CLIENTS_MAX, CLIENTS_OF_ONE_MAX};
use crate::call::network_of;
use crate::link::Peer;

/// The places of one service.
#[derive(Default, Clone)]
pub(super) struct Places(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// One of them, free again when it is dropped.
pub(super) struct Place {
    places: Places,
    network: Option<IpAddr>,
}

impl Places {
    /// `None`: there are too many clients. Those of a Unix socket are limited in all alone.
    pub fn take(&self, peer: Peer) -> Option<Place> {
        let network = match peer {
            Peer::Tcp(_) => Some(network_of(peer.ip())),
            Peer::Unix => None,
        };
        let mut taken = self.taken();
        let of_one = network.and_then(|network| taken.by.get(&network)).copied().unwrap_or(0);
        if taken.all >= CLIENTS_MAX || of_one >= CLIENTS_OF_ONE_MAX {
            return None;
        }
        taken.all += 1;
        if let Some(network) = network {
            taken.by.insert(network, of_one + 1);
        }
        Some(Place { places: self.clone(), network })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(network) = self.network
            && let Some(count) = taken.by.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                taken.by.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Peer {
        Peer::Tcp(text.parse().expect("an address"))
    }

    #[test]
    fn one_address_keeps_nobody_else_out_and_all_together_have_a_limit() {
        let places = Places::default();
        let mut taken: Vec<Place> = (0..CLIENTS_OF_ONE_MAX).filter_map(|_| places.take(tcp("192.0.2.7:1"))).collect();
        assert!(taken.len() == CLIENTS_OF_ONE_MAX && places.take(tcp("192.0.2.7:2")).is_none());
        assert!(places.take(tcp("[::ffff:192.0.2.7]:2")).is_none(), "the same");
        taken.extend((0..CLIENTS_MAX).map_while(|_| places.take(tcp("[2001:db8::1]:1"))));
        assert_eq!(taken.len(), CLIENTS_MAX, "another has the rest");
        assert!(places.take(tcp("192.0.2.8:1")).is_none() && places.take(Peer::Unix).is_none());
        taken.pop();
        assert!(places.take(Peer::Unix).is_some());
        taken.clear();
        let held = places.taken();
        assert!(held.all == 0 && held.by.is_empty(), "nothing is left of them");
    }
}
