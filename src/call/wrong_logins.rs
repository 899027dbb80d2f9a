//! Who guesses logins: the wrong ones by address, over all doors, and by serial port.

use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use super::Context;
use crate::base::names::PortName;
use crate::base::words::with_causes;
use crate::store::StoreError;
use crate::store::wrong_logins::{GivenLogin, Turn};

/// How often, and how long apart, it is looked whether a login may be looked at, where many are given at once.
const TURN: Duration = Duration::from_millis(50);
const TURNS_MAX: u32 = 200;

/// Where somebody comes from who gives a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Address(IpAddr),
    /// Whoever calls by telephone or radio has no address, so all callers of a port count as one.
    Port(PortName),
    /// The same of a line that a getty has, and that is no port of ours.
    Terminal(PathBuf),
}

impl Origin {
    /// Whether there have been too many guesses from there for anybody to be heard now. Reads the store.
    pub fn is_barred(&self, context: &Context) -> bool {
        let barred = context.store.read::<_, StoreError>(|view| view.is_barred(&self.counted_as(), context.now()));
        barred.unwrap_or_else(|error| {
            tracing::error!(error = with_causes(&error), "cannot look up wrong logins");
            false
        })
    }

    /// A name and password are given there. `None`: they are not to be looked at. Waits for its turn behind others from there.
    pub(super) fn count(&self, context: &Context) -> Option<GivenLogin> {
        for _ in 0..TURNS_MAX {
            match self.try_count(context) {
                Ok(Ok(login)) => return Some(login),
                Ok(Err(Turn::Later | Turn::Now)) => std::thread::sleep(TURN),
                Ok(Err(Turn::Barred)) => return None,
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "cannot count a login, so it is not looked at");
                    return None;
                }
            }
        }
        None
    }

    /// Those who wait only look: each of many writing would be a burden.
    fn try_count(&self, context: &Context) -> Result<Result<GivenLogin, Turn>, StoreError> {
        let (origin, now) = (self.counted_as(), context.now());
        match context.store.read::<_, StoreError>(|view| view.login_turn(&origin, now))? {
            Turn::Now => context.store.write(|change| change.count_login(&origin, now)),
            turn @ (Turn::Later | Turn::Barred) => Ok(Err(turn)),
        }
    }

    fn counted_as(&self) -> String {
        match self {
            Self::Port(name) => format!("port {name}"),
            Self::Terminal(path) => format!("terminal {}", path.display()),
            Self::Address(address) => network_of(*address).to_string(),
        }
    }
}

/// Whoever has an IPv6 address has all of its network (RFC 4291 section 2.5.4: 64 bits).
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// It was right, or was not.
pub(super) fn judge(context: &Context, login: GivenLogin, right: bool) {
    if let Err(error) = context.store.write::<_, StoreError>(|change| change.judge_login(login, right)) {
        tracing::error!(error = with_causes(&error), "cannot note whether a login was right");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_counts_as_one_and_an_ipv4_address_in_any_form() {
        let check = |a: &str, b: &str, same: bool| {
            let [a, b] = [a, b].map(|text| Origin::Address(text.parse().expect("an address")).counted_as());
            assert_eq!(a == b, same, "{a} {b}");
        };
        check("2001:db8::1", "2001:db8::ffff", true);
        check("2001:db8::1", "2001:db8:0:1::1", false);
        check("::ffff:192.0.2.7", "192.0.2.7", true);
        check("192.0.2.8", "192.0.2.7", false);
    }

    #[test]
    fn a_port_is_no_terminal_of_its_name() {
        let port = Origin::Port(PortName::parse("modem").expect("a name"));
        assert_ne!(port.counted_as(), Origin::Terminal("modem".into()).counted_as());
    }
}
