//! Names of newsgroups and the patterns that choose among them.

use std::fmt;

/// Why a word is not a newsgroup name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no newsgroup name")]
pub struct BadGroup(pub String);

/// A newsgroup name (RFC 5536 section 3.1.4): components of letters, digits, `+`, `-`, `_`, joined by dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(String);

impl GroupName {
    pub fn parse(word: &str) -> Result<Self, BadGroup> {
        let component = |c: &str| {
            !c.is_empty()
                && c.chars().all(|c| {
                    c.is_ascii_alphanumeric()
                        || matches!(c, '+' | '-' | '_')
                        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
                })
        };
        if word.len() <= 255 && word.split('.').all(component) {
            Ok(Self(word.to_owned()))
        } else {
            Err(BadGroup(word.chars().take(60).flat_map(char::escape_debug).collect()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A list of patterns as in RFC 3977 section 4: `comp.*,!comp.binaries.*`; the last that matches wins.
/// As in INN, a pattern that begins with `@` poisons an article: none of its groups counts any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wildmat {
    patterns: Vec<(Sense, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    Yes,
    No,
    Poison,
}

impl Wildmat {
    pub fn parse(text: &str) -> Self {
        let one = |p: &str| {
            let p = p.trim();
            match (p.strip_prefix('!'), p.strip_prefix('@')) {
                (Some(rest), _) => (Sense::No, rest.to_owned()),
                (_, Some(rest)) => (Sense::Poison, rest.to_owned()),
                _ => (Sense::Yes, p.to_owned()),
            }
        };
        Self { patterns: text.split(',').filter(|p| !p.trim().is_empty()).map(one).collect() }
    }

    /// Whether `name` is chosen.
    pub fn matches(&self, name: &str) -> bool {
        self.sense(name) == Some(Sense::Yes)
    }

    /// Whether an article in these groups is chosen: one of them is and none is poison.
    pub fn matches_any<'a>(&self, groups: impl IntoIterator<Item = &'a str>) -> bool {
        let mut chosen = false;
        for group in groups {
            match self.sense(group) {
                Some(Sense::Poison) => return false,
                Some(Sense::Yes) => chosen = true,
                Some(Sense::No) | None => {}
            }
        }
        chosen
    }

    fn sense(&self, name: &str) -> Option<Sense> {
        self.patterns.iter().rev().find(|(_, p)| glob(p.as_bytes(), name.as_bytes())).map(|(sense, _)| *sense)
    }
}

/// `*` any run, `?` one character. Linear in the product of the lengths at worst: no backtracking over more than one star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                while t < text.len() && text[t] & 0xc0 == 0x80 {
                    t += 1;
                }
            }
            Some(c) if *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((sp, st)) => {
                    p = sp + 1;
                    t = st + 1;
                    star = Some((sp, st + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_match_wins_and_poison_spoils() {
        let feed = Wildmat::parse("comp.*, !comp.binaries.*,comp.binaries.ham,@*.spam");
        for (group, expected) in [
            ("comp.lang.rust", true),
            ("comp.binaries.x", false),
            ("comp.binaries.ham", true),
            ("rec.autos", false),
            ("comp.spam", false),
        ] {
            assert_eq!(feed.matches(group), expected, "{group}");
        }
        assert!(feed.matches_any(["rec.autos", "comp.lang.rust"]));
        assert!(!feed.matches_any(["comp.lang.rust", "alt.spam"]));
        assert!(Wildmat::parse("*").matches("a.b"));
        assert!(Wildmat::parse("?.b").matches("ä.b"));
        assert!(!Wildmat::default().matches("a"));
    }

    #[test]
    fn group_names() {
        assert!(GroupName::parse("comp.lang.c++").is_ok());
        for word in ["", ".", "a..b", "a b", "a/b", "a,b", "a*"] {
            assert!(GroupName::parse(word).is_err(), "{word}");
        }
    }
}
