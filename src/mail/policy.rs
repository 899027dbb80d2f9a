//! What the configuration decides about mail, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::address::{BadAddress, Domain};
use crate::base::names::{SiteName, UserName};
use crate::wire::packing::BatchForm;

/// How mail is treated here. Made by the configuration, shared by everybody who takes or sends mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Our UUCP name: what stands behind `remote from`, and what begins a bang path through us.
    pub name: SiteName,
    /// Our mail domain: local, and what unqualified senders get.
    pub domain: Domain,
    /// The name of this host in greetings and `Received`.
    pub hostname: String,
    /// More domains whose mail is local.
    pub local_domains: BTreeSet<Domain>,
    /// Who gets mail for `postmaster`, whether in the user table or not.
    pub postmaster: UserName,
    /// Networks whose SMTP clients may send anywhere.
    pub relay_from: Vec<IpNet>,
    /// The first that matches decides.
    pub routes: Vec<(Pattern, Via)>,
    /// Our UUCP neighbours.
    pub sites: BTreeMap<SiteName, SiteMail>,
    /// Local users whose mail goes to their Maildir instead of a mailbox of the store.
    pub maildirs: BTreeSet<UserName>,
    /// Largest message taken over SMTP, in bytes.
    pub message_max: u64,
    /// How long an item waits for its hop before it is returned.
    pub queue_lifetime: Duration,
}

/// How a neighbour wants its mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteMail {
    pub addressing: Addressing,
    /// Many letters at a time; `None`: each as an execution of `rmail`.
    pub batch: Option<BatchForm>,
    /// Whether its mail may leave us for other hosts.
    pub relay: bool,
}

/// The form of addresses in `rmail` arguments and the `From_` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// `ann@village.example`: whoever knows domains.
    #[default]
    Domain,
    /// `village.example!ann`: programs that know only `!` (RFC 976 class 1).
    Bang,
}

/// Which hosts a route is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`
    All,
    /// `hub.example`, also the name of a UUCP host.
    Host(Domain),
    /// `.example` or `*.example`: every host below it, not itself.
    Below(Domain),
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        if text == "*" {
            return Ok(Self::All);
        }
        match text.strip_prefix("*.").or_else(|| text.strip_prefix('.')) {
            Some(parent) => Domain::parse(parent).map(Self::Below),
            None => Domain::parse(text).map(Self::Host),
        }
    }

    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::All => true,
            Self::Host(domain) => host.eq_ignore_ascii_case(domain.as_str()),
            Self::Below(domain) => {
                let host = host.to_lowercase();
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Host(domain) => write!(f, "{domain}"),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// The way a route points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    Local,
    Site(SiteName),
    Smtp { host: String, port: u16 },
    Bounce(String),
}

/// As the configuration writes it: `local`, `uucp:hub`, `smtp:host:25`, `bounce:reason`.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Site(site) => write!(f, "uucp:{site}"),
            Self::Smtp { host, port } => write!(f, "smtp:{host}:{port}"),
            Self::Bounce(reason) => write!(f, "bounce:{reason}"),
        }
    }
}

impl Policy {
    /// Whether mail for this host or domain is ours: our domains, our UUCP name, `localhost`, an address literal of loopback.
    pub fn is_ours(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        let bare = host.strip_suffix(".uucp").unwrap_or(&host);
        bare.eq_ignore_ascii_case(self.name.as_str())
            || matches!(host.as_str(), "localhost" | "[127.0.0.1]" | "[ipv6:::1]")
            || host == self.domain.as_str()
            || self.local_domains.iter().any(|domain| domain.as_str() == host)
    }

    /// The neighbour of this name; also `name.uucp`, and in another case where that is not ambiguous.
    pub fn neighbour(&self, host: &str) -> Option<&SiteName> {
        let bare = match host.len().checked_sub(5).and_then(|at| host.split_at_checked(at)) {
            Some((bare, suffix)) if suffix.eq_ignore_ascii_case(".uucp") => bare,
            _ => host,
        };
        let exact = self.sites.keys().find(|site| site.as_str() == bare);
        exact.or_else(|| {
            let mut alike = self.sites.keys().filter(|site| site.as_str().eq_ignore_ascii_case(bare));
            alike.next().filter(|_| alike.next().is_none())
        })
    }

    /// How `site` wants its mail; the default for a site that is not in the configuration any more.
    pub fn site(&self, site: &SiteName) -> SiteMail {
        self.sites.get(site).copied().unwrap_or_default()
    }

    /// Whether SMTP clients at this address may send anywhere.
    pub fn relays_for(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.relay_from.iter().any(|net| net.contains(&peer))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn site(name: &str) -> SiteName {
        SiteName::parse(name).expect("a site name")
    }

    /// `village`, with the neighbours `hub` (domains, default route, may relay) and `oldvax` (bang paths).
    pub(crate) fn village() -> Policy {
        let domain = |text: &str| Domain::parse(text).expect("a domain");
        let user = |name: &str| UserName::parse(name).expect("a user name");
        let route = |pattern: &str, via: Via| (Pattern::parse(pattern).expect("a pattern"), via);
        Policy {
            name: site("village"),
            domain: domain("village.example"),
            hostname: "mx.village.example".to_owned(),
            local_domains: [domain("also.example")].into(),
            postmaster: user("alice"),
            relay_from: vec!["192.168.0.0/16".parse().expect("a network")],
            routes: vec![
                route("closed.example", Via::Bounce("moved away".to_owned())),
                route("aliased.example", Via::Local),
                route("*.lan.example", Via::Smtp { host: "mail.lan.example".to_owned(), port: 2525 }),
                route("lan.example", Via::Smtp { host: "mail.lan.example".to_owned(), port: 2525 }),
                route("*", Via::Site(site("hub"))),
            ],
            sites: [
                (site("hub"), SiteMail { relay: true, ..SiteMail::default() }),
                (site("oldvax"), SiteMail { addressing: Addressing::Bang, ..SiteMail::default() }),
            ]
            .into(),
            maildirs: [user("mark")].into(),
            message_max: 100_000,
            queue_lifetime: Duration::from_secs(7 * 24 * 3600),
        }
    }

    #[test]
    fn patterns() {
        for (pattern, host, expected) in [
            ("*", "anything", true),
            ("a.example", "A.EXAMPLE", true),
            ("a.example", "b.a.example", false),
            (".a.example", "b.a.example", true),
            ("*.a.example", "c.b.A.example", true),
            ("*.a.example", "a.example", false),
            ("*.a.example", "ba.example", false),
            ("oldvax", "oldvax", true),
        ] {
            let parsed = Pattern::parse(pattern).expect("a pattern");
            assert_eq!(parsed.matches(host), expected, "{pattern} {host}");
        }
        assert!(Pattern::parse("a.*").is_err());
    }

    #[test]
    fn relaying_is_for_named_networks_also_behind_mapped_addresses() {
        for (peer, expected) in
            [("192.168.3.4", true), ("::ffff:192.168.3.4", true), ("10.0.0.1", false), ("::1", false)]
        {
            assert_eq!(village().relays_for(peer.parse().expect("an address")), expected, "{peer}");
        }
    }
}
