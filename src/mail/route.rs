//! From a recipient's address to the hop that takes it, step by step.

use crate::base::address::{Address, Domain};
use crate::base::limits::ROUTE_STEPS_MAX;
use crate::base::names::SiteName;
use crate::wire::smtp::Status;

use super::policy::{Policy, Via};

/// Where an address leads, and how we came to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub target: Target,
    /// The address itself names the next site (`hub!bob`), not a route of the configuration.
    pub explicit: bool,
    /// One sentence for each step, for `bangpath route`.
    pub steps: Vec<String>,
}

/// The end of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A local name, not yet looked up.
    Local(String),
    /// A neighbour, and the address it is given.
    Site {
        site: SiteName,
        recipient: Address,
    },
    /// An SMTP host, and the address it is given: always `user@domain`.
    Smtp {
        host: String,
        port: u16,
        recipient: Address,
    },
    Refused(Refusal),
}

/// Why a recipient is not taken: policy or a bad address, for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub status: Status,
    pub text: String,
}

impl Refusal {
    pub fn new(status: Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

enum Step {
    Again(Address),
    End(Target),
}

/// Follows `address` until it leads to a local name, a hop or a refusal.
pub fn route(policy: &Policy, address: &Address) -> Route {
    let mut walk = Walk { policy, explicit: false, steps: Vec::new() };
    let mut address = address.clone();
    for _ in 0..ROUTE_STEPS_MAX {
        match walk.step(address) {
            Step::Again(next) => address = next,
            Step::End(target) => return Route { target, explicit: walk.explicit, steps: walk.steps },
        }
    }
    walk.note("it is too long a path");
    let refusal = Refusal::new(Status(5, 1, 3), "the address is nested too deeply");
    Route { target: Target::Refused(refusal), explicit: walk.explicit, steps: walk.steps }
}

struct Walk<'a> {
    policy: &'a Policy,
    explicit: bool,
    steps: Vec<String>,
}

impl Walk<'_> {
    fn note(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    fn refuse(&mut self, status: Status, text: impl Into<String>) -> Step {
        let text = text.into();
        self.note(format!("refused: {text}"));
        Step::End(Target::Refused(Refusal { status, text }))
    }

    fn step(&mut self, address: Address) -> Step {
        match address {
            Address::Local(user) => self.local(&user),
            Address::Path { hosts, user } => self.path(hosts, user),
            Address::Domain { local, domain } => self.domain(local, domain),
        }
    }

    /// A name at our own domain: a user, or a way on from here (`a!b`, `user%host`).
    fn local(&mut self, name: &str) -> Step {
        let onward = if name.contains('!') {
            self.note(format!("`{name}` is a bang path from here"));
            Address::parse_uucp(name)
        } else if let Some((user, host)) = name.rsplit_once('%') {
            self.note(format!("`{name}` means {user}@{host}"));
            Address::parse_smtp(&format!("{user}@{host}"))
        } else {
            self.note(format!("`{name}` is a local name"));
            return Step::End(Target::Local(name.to_owned()));
        };
        match onward {
            Ok(address) => Step::Again(address),
            Err(why) => self.refuse(Status(5, 1, 3), why.to_string()),
        }
    }

    fn path(&mut self, hosts: Vec<String>, user: String) -> Step {
        let Some((first, rest)) = hosts.split_first() else {
            return self.local(&user);
        };
        if self.policy.is_ours(first) {
            self.note(format!("`{first}` is this site"));
            return self.rest_of_path(rest, &user);
        }
        if let Some(site) = self.policy.neighbour(first).cloned() {
            self.note(format!("`{first}` is our UUCP neighbour"));
            self.explicit = true;
            return match behind(rest, &user) {
                Ok(recipient) => Step::End(Target::Site { site, recipient }),
                Err(why) => self.refuse(Status(5, 1, 3), why),
            };
        }
        if first.contains('.')
            && let (Ok(domain), local) = (Domain::parse(first), joined(rest, &user))
        {
            self.note(format!("`{first}!{local}` means {local} at the domain {domain}"));
            return Step::Again(Address::Domain { local, domain });
        }
        let via = self.lookup(first);
        let local = joined(rest, &user);
        match via {
            None => self.refuse(Status(5, 4, 4), format!("no route to the UUCP host {first}")),
            Some(Via::Site(site)) => Step::End(Target::Site { site, recipient: Address::Path { hosts, user } }),
            Some(Via::Local) => self.rest_of_path(rest, &user),
            Some(Via::Bounce(reason)) => self.refuse(Status(5, 7, 1), reason),
            Some(Via::Smtp { host, port }) => match Domain::parse(first) {
                Ok(domain) => Step::End(Target::Smtp { host, port, recipient: Address::Domain { local, domain } }),
                Err(why) => self.refuse(Status(5, 1, 3), why.to_string()),
            },
        }
    }

    fn rest_of_path(&mut self, rest: &[String], user: &str) -> Step {
        match behind(rest, user) {
            Ok(next) => Step::Again(next),
            Err(why) => self.refuse(Status(5, 1, 3), why),
        }
    }

    fn domain(&mut self, local: String, domain: Domain) -> Step {
        if self.policy.is_ours(domain.as_str()) {
            self.note(format!("mail for `{domain}` is local"));
            return self.local(&local);
        }
        if let Some(site) = self.policy.neighbour(domain.as_str()).cloned() {
            self.note(format!("`{domain}` is our UUCP neighbour"));
            self.explicit = true;
            return match behind(&[], &local) {
                Ok(recipient) => Step::End(Target::Site { site, recipient }),
                Err(why) => self.refuse(Status(5, 1, 3), why),
            };
        }
        if let Some(host) = domain.as_str().strip_suffix(".uucp") {
            self.note(format!("`{local}@{domain}` means {host}!{local}"));
            return Step::Again(Address::Path { hosts: vec![host.to_owned()], user: local });
        }
        match self.lookup(domain.as_str()) {
            None => self.refuse(Status(5, 4, 4), format!("no route to {domain}")),
            Some(Via::Local) => self.local(&local),
            Some(Via::Site(site)) => Step::End(Target::Site { site, recipient: Address::Domain { local, domain } }),
            Some(Via::Smtp { host, port }) => {
                Step::End(Target::Smtp { host, port, recipient: Address::Domain { local, domain } })
            }
            Some(Via::Bounce(reason)) => self.refuse(Status(5, 7, 1), reason),
        }
    }

    /// The first route that matches.
    fn lookup(&mut self, host: &str) -> Option<Via> {
        let found = self.policy.routes.iter().enumerate().find(|(_, (pattern, _))| pattern.matches(host));
        match found {
            Some((n, (pattern, via))) => {
                self.steps.push(format!("route {} (to `{pattern}`) matches `{host}`: via {via}", n + 1));
                Some(via.clone())
            }
            None => {
                self.note(format!("no route matches `{host}`"));
                None
            }
        }
    }
}

/// What is left of a path behind its first host, as an address.
fn behind(rest: &[String], user: &str) -> Result<Address, String> {
    if rest.is_empty() {
        return Address::parse_uucp(user).map_err(|why| why.to_string());
    }
    Ok(Address::Path { hosts: rest.to_vec(), user: user.to_owned() })
}

/// What is left of a path, as the local part at the host before it: `b!user`, and `user%c` for `user@c`.
fn joined(rest: &[String], user: &str) -> String {
    let user = user.replace('@', "%");
    let words: Vec<&str> = rest.iter().map(String::as_str).chain([user.as_str()]).collect();
    words.join("!")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::policy::tests::village;

    fn shown(policy: &Policy, address: &str) -> String {
        let address = Address::parse_smtp(address).or_else(|_| Address::parse_uucp(address)).expect(address);
        let found = route(policy, &address);
        assert!(!found.steps.is_empty(), "{address}");
        let explicit = if found.explicit { " (explicit)" } else { "" };
        let shown = match found.target {
            Target::Local(name) => format!("local {name}"),
            Target::Site { site, recipient } => format!("{site}: {recipient}"),
            Target::Smtp { host, port, recipient } => format!("{host}:{port}: {recipient}"),
            Target::Refused(why) => format!("refused {}", why.status),
        };
        shown + explicit
    }

    #[test]
    fn every_form_of_address_finds_its_hop() {
        let policy = village();
        for (address, expected) in [
            ("ann", "local ann"),
            ("ann@village.example", "local ann"),
            ("ann@ALSO.example", "local ann"),
            ("ann@localhost", "local ann"),
            ("ann@village.uucp", "local ann"),
            ("ann@aliased.example", "local ann"),
            ("village!ann", "local ann"),
            ("village.example!ann", "local ann"),
            ("village!village!ann", "local ann"),
            ("village!hub!bob", "hub: bob (explicit)"),
            ("hub!bob", "hub: bob (explicit)"),
            ("HUB!bob", "hub: bob (explicit)"),
            ("hub!x!bob", "hub: x!bob (explicit)"),
            ("bob@hub", "hub: bob (explicit)"),
            ("bob@hub.uucp", "hub: bob (explicit)"),
            ("oldvax!bob", "oldvax: bob (explicit)"),
            ("bob%oldvax@village.example", "oldvax: bob (explicit)"),
            ("oldvax!bob@village.example", "oldvax: bob (explicit)"),
            ("far!away!bob", "hub: far!away!bob"),
            ("bob@far.uucp", "hub: far!bob"),
            ("bob@far.example", "hub: bob@far.example"),
            ("far.example!bob", "hub: bob@far.example"),
            ("far.example!a!bob", "hub: a!bob@far.example"),
            ("bob%far.example@village.example", "hub: bob@far.example"),
            ("bob@lan.example", "mail.lan.example:2525: bob@lan.example"),
            ("bob@a.b.lan.example", "mail.lan.example:2525: bob@a.b.lan.example"),
            ("lan.example!a!bob", "mail.lan.example:2525: a!bob@lan.example"),
            ("bob@closed.example", "refused 5.7.1"),
            ("\"a b\"@village.example", "local a b"),
        ] {
            assert_eq!(shown(&policy, address), expected, "{address}");
        }
    }

    #[test]
    fn a_path_is_followed_before_the_at_sign_when_it_comes_over_uucp() {
        let policy = village();
        for (address, expected) in [
            ("hub!bob@far.example", "hub: bob@far.example"),
            ("village!bob@lan.example", "mail.lan.example:2525: bob@lan.example"),
            ("lan.example!bob@far.example", "mail.lan.example:2525: bob%far.example@lan.example"),
        ] {
            let found = route(&policy, &Address::parse_uucp(address).expect(address));
            let shown = match found.target {
                Target::Site { site, recipient } => format!("{site}: {recipient}"),
                Target::Smtp { host, port, recipient } => format!("{host}:{port}: {recipient}"),
                other => format!("{other:?}"),
            };
            assert_eq!(shown, expected, "{address}");
        }
    }

    #[test]
    fn without_a_route_an_address_is_refused() {
        let mut policy = village();
        policy.routes.clear();
        assert_eq!(shown(&policy, "bob@far.example"), "refused 5.4.4");
        assert_eq!(shown(&policy, "far!bob"), "refused 5.4.4");
        assert_eq!(shown(&policy, "hub!bob"), "hub: bob (explicit)");
    }

    #[test]
    fn an_address_that_leads_in_circles_comes_to_an_end() {
        let nested = format!("bob{}@village.example", "%village.example".repeat(60));
        assert_eq!(shown(&village(), &nested), "refused 5.1.3");
    }
}
