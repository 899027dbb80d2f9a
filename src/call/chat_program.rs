//! Taylor's `chat-program`: a program of the operator's that talks on the line before the login chat.

use std::time::Duration;

use super::Site;
use crate::link::{self, Link, Nudges, ProgramFailure};

/// The program and its arguments as they are configured, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatProgram {
    words: Vec<Vec<Piece>>,
    limit: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// The device, or whoever else is at the other end.
    Port,
    Speed,
    Login,
    Password,
    Site,
}

impl ChatProgram {
    /// How long it may take, unless the configuration says otherwise.
    pub const LIMIT: Duration = Duration::from_secs(120);

    /// Reads Taylor's escapes: `\Y`, `\S`, `\L`, `\P`, `\Z`, and `\\` for a backslash.
    pub fn parse(words: &[String], limit: Duration) -> Result<Self, String> {
        if words.first().is_none_or(String::is_empty) {
            return Err("the program has no name".to_owned());
        }
        Ok(Self { words: words.iter().map(|word| pieces(word)).collect::<Result<_, _>>()?, limit })
    }

    /// Whether it is told the login name or password, so that they must be configured.
    pub fn needs_login(&self) -> bool {
        self.words.iter().flatten().any(|piece| matches!(piece, Piece::Login | Piece::Password))
    }

    /// Runs it on the line, on which `unread` has come already. Gives what it has not read.
    pub(super) async fn run(
        &self,
        link: &mut Link,
        site: &Site,
        unread: Vec<u8>,
        nudges: &mut Nudges,
    ) -> Result<Vec<u8>, ProgramFailure> {
        let argv = self.spelled(link, site);
        let name = &argv[0];
        tracing::debug!(site = %site.name, program = name, "chat program");
        let ran = link::run_program(link, &argv, unread, self.limit, nudges).await;
        let password = site.credentials.as_ref().map_or("", |credentials| credentials.0.password.as_str());
        for line in ran.words.lines() {
            tracing::info!(site = %site.name, program = name, words = hide(line, password), "chat program");
        }
        ran.result.map(|()| ran.unread)
    }

    fn spelled(&self, link: &Link, site: &Site) -> Vec<String> {
        let (login, password) = site.credentials.as_ref().map_or(("", ""), |c| (&c.0.login, &c.0.password));
        let speed = link.facts.speed.unwrap_or(0).to_string();
        let spell = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Port => link.facts.peer.clone(),
            Piece::Speed => speed.clone(),
            Piece::Login => login.to_owned(),
            Piece::Password => password.to_owned(),
            Piece::Site => site.name.to_string(),
        };
        self.words.iter().map(|word| word.iter().map(spell).collect()).collect()
    }
}

fn pieces(word: &str) -> Result<Vec<Piece>, String> {
    let mut found = vec![Piece::Text(String::new())];
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        let piece = match (c, (c == '\\').then(|| chars.next()).flatten()) {
            ('\\', Some('Y')) => Piece::Port,
            ('\\', Some('S')) => Piece::Speed,
            ('\\', Some('L')) => Piece::Login,
            ('\\', Some('P')) => Piece::Password,
            ('\\', Some('Z')) => Piece::Site,
            ('\\', Some('\\')) => Piece::Text("\\".to_owned()),
            ('\\', Some(other)) => {
                return Err(format!("no escape `\\{other}`: there are \\Y \\S \\L \\P \\Z and \\\\"));
            }
            ('\\', None) => return Err(format!("`{word}` ends in a backslash: write \\\\ for one")),
            _ => Piece::Text(c.to_string()),
        };
        found.push(piece);
    }
    Ok(found)
}

/// For the log: without the password, and without what a terminal would obey.
fn hide(line: &str, password: &str) -> String {
    let shown = if password.is_empty() { line.to_owned() } else { line.replace(password, "***") };
    shown.escape_debug().to_string()
}
