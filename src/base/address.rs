//! Mail addresses as envelopes carry them: `user@domain`, bang paths, bare local names.

use std::fmt;

use super::limits::ADDRESS_MAX;

/// Why a string is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad address: {0}")]
pub struct BadAddress(pub &'static str);

/// A mail domain, in lower case. U-labels (RFC 6531) stay as they are; `[192.0.2.1]` is one too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

impl Domain {
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let lower = text.trim_end_matches('.').to_lowercase();
        if lower.is_empty() || lower.len() > 255 {
            return Err(BadAddress("the domain is empty or too long"));
        }
        if let Some(inner) = lower.strip_prefix('[') {
            let literal = inner.strip_suffix(']').is_some_and(|ip| {
                let ip = ip.strip_prefix("ipv6:").unwrap_or(ip);
                ip.parse::<std::net::IpAddr>().is_ok()
            });
            return if literal { Ok(Self(lower)) } else { Err(BadAddress("bad address literal")) };
        }
        let label = |l: &str| {
            !l.is_empty()
                && !l.starts_with('-')
                && l.chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (!c.is_ascii() && !c.is_control()))
        };
        if lower.split('.').all(label) { Ok(Self(lower)) } else { Err(BadAddress("bad character in the domain")) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An envelope address. The null sender is `None` of an `Option<Address>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// `local@domain`; `local` is the unquoted form.
    Domain { local: String, domain: Domain },
    /// `a!b!user`, read from left to right: `hosts` is never empty. `user` may hold an `@`.
    Path { hosts: Vec<String>, user: String },
    /// A name without any host.
    Local(String),
}

impl Address {
    /// What stands between `<` and `>` in MAIL and RCPT (RFC 5321 section 4.1.2), also without a
    /// domain and as a bang path. A source route is dropped (RFC 5321 appendix C).
    pub fn parse_smtp(text: &str) -> Result<Self, BadAddress> {
        let text = match (text.starts_with('@'), text.find(':')) {
            (true, Some(colon)) => &text[colon + 1..],
            (true, None) => return Err(BadAddress("a source route without a mailbox")),
            (false, _) => text,
        };
        Self::check_characters(text)?;
        let (local, rest) = if text.starts_with('"') { quoted(text)? } else { split_at_last_at(text) };
        match rest {
            Some(domain) => {
                let domain = Domain::parse(domain)?;
                if local.is_empty() {
                    return Err(BadAddress("nothing stands before the @"));
                }
                if !text.starts_with('"') && local.contains('@') {
                    return Err(BadAddress("it holds a second @"));
                }
                Ok(Self::Domain { local, domain })
            }
            None => Self::path_or_local(&local),
        }
    }

    /// An argument of `rmail`, or an address in a `From_` line. In `a!user@b` the path is followed
    /// first (RFC 976: at a site of the UUCP world `!` is looked at before `@`).
    pub fn parse_uucp(text: &str) -> Result<Self, BadAddress> {
        Self::check_characters(text)?;
        match text.find('!') {
            Some(bang) if !text[..bang].contains(['@', '"']) => Self::path_or_local(text),
            _ => Self::parse_smtp(text),
        }
    }

    fn path_or_local(text: &str) -> Result<Self, BadAddress> {
        let mut words: Vec<&str> = text.split('!').collect();
        let user = words.pop().unwrap_or_default();
        if user.is_empty() || words.iter().any(|w| w.is_empty() || w.starts_with('-')) {
            return Err(BadAddress("a part of the path is empty"));
        }
        if words.is_empty() {
            return Ok(Self::Local(user.to_owned()));
        }
        let hosts = words.into_iter().map(str::to_owned).collect();
        Ok(Self::Path { hosts, user: user.to_owned() })
    }

    /// Blanks and controls break command lines, `From_` lines and headers alike; a leading minus is an option to `rmail`.
    fn check_characters(text: &str) -> Result<(), BadAddress> {
        if text.is_empty() {
            return Err(BadAddress("it is empty"));
        }
        if text.len() > ADDRESS_MAX {
            return Err(BadAddress("it is too long"));
        }
        if text.starts_with('-') {
            return Err(BadAddress("it begins with a minus"));
        }
        let quoted = text.starts_with('"');
        let wrong = |c: char| {
            c.is_control() || c == '<' || c == '>' || (!quoted && (c.is_whitespace() || "()\\\";,`".contains(c)))
        };
        if text.chars().any(wrong) {
            return Err(BadAddress("it holds a character that no address may hold"));
        }
        Ok(())
    }

    /// The domain or first host, if there is one.
    pub fn first_host(&self) -> Option<&str> {
        match self {
            Self::Domain { domain, .. } => Some(domain.as_str()),
            Self::Path { hosts, .. } => hosts.first().map(String::as_str),
            Self::Local(_) => None,
        }
    }

    /// Whether it takes SMTPUTF8 (RFC 6531) to say it over SMTP.
    pub fn needs_utf8(&self) -> bool {
        !self.to_string().is_ascii()
    }
}

fn split_at_last_at(text: &str) -> (String, Option<&str>) {
    match text.rsplit_once('@') {
        Some((local, domain)) => (local.to_owned(), Some(domain)),
        None => (text.to_owned(), None),
    }
}

/// `"a b\"c"@domain` → `a b"c`, and what follows the `@`.
fn quoted(text: &str) -> Result<(String, Option<&str>), BadAddress> {
    let mut local = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                return match text[at + 1..].strip_prefix('@') {
                    Some(domain) => Ok((local, Some(domain))),
                    None => Err(BadAddress("a quoted name without a domain")),
                };
            }
            '\\' => local.push(chars.next().ok_or(BadAddress("it ends in a backslash"))?.1),
            _ => local.push(c),
        }
    }
    Err(BadAddress("the quote does not end"))
}

/// As SMTP writes it between `<` and `>`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { local, domain } => {
                let atom = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
                let dotted = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
                if dotted && local.chars().all(atom) {
                    write!(f, "{local}@{domain}")
                } else {
                    let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
                    write!(f, "\"{escaped}\"@{domain}")
                }
            }
            Self::Path { hosts, user } => write!(f, "{}!{user}", hosts.join("!")),
            Self::Local(user) => f.write_str(user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(parsed: Result<Address, BadAddress>, expected: &str) {
        let got = match parsed {
            Ok(Address::Domain { local, domain }) => format!("{local} at {domain}"),
            Ok(Address::Path { hosts, user }) => format!("{} via {}", user, hosts.join(",")),
            Ok(Address::Local(user)) => format!("local {user}"),
            Err(_) => "refused".to_owned(),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn smtp_addresses() {
        for (text, expected) in [
            ("ann@Example.ORG", "ann at example.org"),
            ("\"a b\"@x", "a b at x"),
            ("\"a@b\"@c", "a@b at c"),
            ("@r1,@r2:ann@x", "ann at x"),
            ("postmaster", "local postmaster"),
            ("a!b!c", "c via a,b"),
            ("a!b@c", "a!b at c"),
            ("ünï@dömain.example", "ünï at dömain.example"),
            ("ann@[192.0.2.1]", "ann at [192.0.2.1]"),
            ("ann@[192.0.2]", "refused"),
            ("@x", "refused"),
            ("ann@", "refused"),
            ("ann@-x", "refused"),
            ("a@b@c", "refused"),
            ("-oX", "refused"),
            ("a b@x", "refused"),
            ("a\r\nb@x", "refused"),
            ("x;rm@y", "refused"),
            ("", "refused"),
        ] {
            check(Address::parse_smtp(text), expected);
        }
    }

    #[test]
    fn uucp_paths_are_followed_before_the_at_sign() {
        check(Address::parse_uucp("a!user@b"), "user@b via a");
        check(Address::parse_uucp("a!!b"), "refused");
        check(Address::parse_uucp("!b"), "refused");
        check(Address::parse_uucp("ann@x"), "ann at x");
        check(Address::parse_uucp("x; rm -rf"), "refused");
    }

    #[test]
    fn printing_quotes_what_needs_it() {
        for text in ["ann@x", "\"a b\"@x", "\"a@b\"@c", "a!b!c", "\"a\\\\b\\\"c\"@x"] {
            assert_eq!(Address::parse_smtp(text).expect(text).to_string(), text);
        }
    }
}
