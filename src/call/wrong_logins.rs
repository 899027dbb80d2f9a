//! Who guesses logins: the wrong ones by address, over all doors, and by serial port.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::base::limits::{WRONG_LOGIN_ORIGINS_MAX, WRONG_LOGINS_MAX, WRONG_LOGINS_WITHIN_S};
use crate::base::names::PortName;
use crate::base::time::Instant;

const WITHIN: Duration = Duration::from_secs(WRONG_LOGINS_WITHIN_S);

/// Where somebody comes from who gives a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    Address(IpAddr),
    /// Whoever calls by telephone or radio has no address, so all callers of a port count as one.
    Port(PortName),
}

/// The wrong logins of the last minutes. It lives as long as the process.
#[derive(Debug, Default)]
pub struct WrongLogins(Mutex<HashMap<Origin, VecDeque<Instant>>>);

impl WrongLogins {
    /// Somebody from there gives a name and password, which count as wrong for now. `false`: there were too many
    /// before, and these are not to be looked at.
    pub fn count(&self, now: Instant, from: &Origin) -> bool {
        if self.is_barred(now, from) {
            return false;
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = counted_as(from);
        if table.len() >= WRONG_LOGIN_ORIGINS_MAX && !table.contains_key(&key) {
            table.retain(|_, times| times.back().is_some_and(|last| now.since(*last) < WITHIN));
            let quiet = table.iter().min_by_key(|(_, times)| times.back()).map(|(from, _)| from.clone());
            if let Some(quiet) = quiet.filter(|_| table.len() >= WRONG_LOGIN_ORIGINS_MAX) {
                table.remove(&quiet);
            }
        }
        let times = table.entry(key).or_default();
        times.push_back(now);
        if times.len() > WRONG_LOGINS_MAX {
            times.pop_front();
        }
        true
    }

    /// They were right.
    pub fn forgive(&self, from: &Origin) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = table.get_mut(&counted_as(from)) {
            times.pop_back();
        }
        table.retain(|_, times| !times.is_empty());
    }

    /// Whether there have been too many guesses from there for anybody to be heard now.
    pub fn is_barred(&self, now: Instant, from: &Origin) -> bool {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(times) = table.get(&counted_as(from)) else { return false };
        times.len() >= WRONG_LOGINS_MAX && times.front().is_some_and(|first| now.since(*first) < WITHIN)
    }
}

/// Whoever has an IPv6 address has all of its network (RFC 4291 section 2.5.4: 64 bits).
fn counted_as(from: &Origin) -> Origin {
    match from {
        Origin::Port(_) => from.clone(),
        Origin::Address(address) => Origin::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
            IpAddr::V4(address) => IpAddr::V4(address),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::default() + Duration::from_secs(seconds)
    }

    fn address(text: &str) -> Origin {
        Origin::Address(text.parse().expect("an address"))
    }

    fn port(text: &str) -> Origin {
        Origin::Port(PortName::parse(text).expect("a name"))
    }

    #[test]
    fn an_address_or_port_that_guesses_too_often_is_barred_for_a_while() {
        for (guesser, other) in [(address("192.0.2.7"), address("192.0.2.8")), (port("modem"), port("modem2"))] {
            check(&guesser, &other);
        }
    }

    fn check(guesser: &Origin, other: &Origin) {
        let logins = WrongLogins::default();
        for n in 0..WRONG_LOGINS_MAX as u64 {
            assert!(!logins.is_barred(at(n), guesser), "after {n}");
            assert!(logins.count(at(n), guesser));
        }
        assert!(logins.is_barred(at(10), guesser) && !logins.is_barred(at(10), other));
        assert!(logins.is_barred(at(WRONG_LOGINS_WITHIN_S - 1), guesser));
        assert!(!logins.is_barred(at(WRONG_LOGINS_WITHIN_S), guesser), "the first is forgotten");
        // One more guess, and it waits for the second to be forgotten.
        assert!(!logins.count(at(WRONG_LOGINS_WITHIN_S - 1), guesser));
        assert!(logins.count(at(WRONG_LOGINS_WITHIN_S), guesser));
        assert!(logins.is_barred(at(WRONG_LOGINS_WITHIN_S), guesser));
        assert!(!logins.is_barred(at(WRONG_LOGINS_WITHIN_S + 1), guesser));
    }

    #[test]
    fn right_logins_do_not_count() {
        let logins = WrongLogins::default();
        let from = address("192.0.2.7");
        for n in 0..3 * WRONG_LOGINS_MAX as u64 {
            assert!(logins.count(at(n), &from));
            logins.forgive(&from);
        }
        assert!(logins.0.lock().expect("no panic").is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_an_ipv4_address_in_any_form_and_the_table_stays_small() {
        let logins = WrongLogins::default();
        for n in 0..WRONG_LOGINS_MAX {
            logins.count(at(1), &address(&format!("2001:db8::{n:x}")));
            logins.count(at(1), &address("192.0.2.7"));
        }
        assert!(logins.is_barred(at(1), &address("2001:db8::ffff")));
        assert!(!logins.is_barred(at(1), &address("2001:db8:0:1::1")));
        assert!(logins.is_barred(at(1), &address("::ffff:192.0.2.7")));
        for n in 0..2 * WRONG_LOGIN_ORIGINS_MAX as u32 {
            logins.count(at(2), &Origin::Address(IpAddr::V4((0x0a00_0000 + n).into())));
        }
        assert_eq!(logins.0.lock().expect("no panic").len(), WRONG_LOGIN_ORIGINS_MAX);
        assert!(!logins.is_barred(at(2), &address("2001:db8::1")), "those quiet longest are forgotten");
    }
}
