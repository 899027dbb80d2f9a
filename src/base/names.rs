//! Names of sites, ports, users and peers, and the grade: each can only be had by parsing.

use std::fmt;

/// Why a word is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no {what}: {why}")]
pub struct BadName {
    pub word: String,
    pub what: &'static str,
    pub why: &'static str,
}

fn bad(word: &str, what: &'static str, why: &'static str) -> BadName {
    let word = word.chars().take(60).flat_map(char::escape_debug).collect();
    BadName { word, what, why }
}

fn check(word: &str, what: &'static str, len_max: usize, extra: &[char]) -> Result<(), BadName> {
    if word.is_empty() {
        return Err(bad(word, what, "it is empty"));
    }
    if word.len() > len_max {
        return Err(bad(word, what, "it is too long"));
    }
    if word.starts_with(['.', '-']) {
        return Err(bad(word, what, "it begins with a dot or a minus"));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') || extra.contains(&c);
    if !word.chars().all(allowed) {
        return Err(bad(word, what, "only letters, digits, `.`, `-` and `_` are allowed"));
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $len_max:literal, $extra:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn parse(word: &str) -> Result<Self, BadName> {
                check(word, $what, $len_max, $extra)?;
                Ok(Self(word.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A UUCP neighbour, or ourselves. Letters keep their case; comparison is exact.
    SiteName, "site name", 64, &[]
}
name! {
    /// A configured way out or in.
    PortName, "port name", 64, &[]
}
name! {
    /// A local user: the name of a mailbox and of a login.
    UserName, "user name", 64, &['+']
}
name! {
    /// An NNTP neighbour in the configuration.
    PeerName, "news peer name", 64, &[]
}

/// Urgency of an item: `0` the most urgent, then `1`-`9`, `A`-`Z`, `a`-`z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grade(u8);

impl Grade {
    /// The least urgent: everything may go.
    pub const LEAST: Self = Self(b'z');
    /// What mail has by custom.
    pub const MAIL: Self = Self(b'C');
    /// What news has by custom.
    pub const NEWS: Self = Self(b'd');
    /// Taylor's default for `uucp` and `uux`.
    pub const FILE: Self = Self(b'N');

    pub fn parse(c: char) -> Option<Self> {
        c.is_ascii_alphanumeric().then_some(Self(c as u8))
    }

    pub fn as_char(self) -> char {
        char::from(self.0)
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_folder_are_refused() {
        for word in ["", ".", "..", "../x", "a/b", "-x", ".hidden", "a b", "a\0", "a\n", "ä"] {
            assert!(SiteName::parse(word).is_err(), "{word:?}");
        }
        assert!(SiteName::parse(&"x".repeat(65)).is_err());
        assert_eq!(SiteName::parse("uu-net.1").expect("a site name").as_str(), "uu-net.1");
    }

    #[test]
    fn grades_have_the_order_of_ascii() {
        let grades: Vec<Grade> = "09AZaz".chars().filter_map(Grade::parse).collect();
        assert!(grades.is_sorted());
        assert_eq!(Grade::parse('!'), None);
    }
}
