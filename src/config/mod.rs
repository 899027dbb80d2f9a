//! Configuration: read in one place, handed down as plain structs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::limits::OPERATORS_FILE_MAX;
use crate::base::names::{PeerName, PortName, SiteName, UserName};
use crate::call;
use crate::mail;
use crate::news;
use crate::sched::Zone;

mod check;
mod modems;
mod ports;
mod raw;
mod units;

pub use units::duration;

/// Where the configuration lies unless `-c` or `$BANGPATH_CONFIG` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/bangpath/bangpath.toml";

/// A configuration without complaints.
#[derive(Debug, Clone)]
pub struct Config {
    pub path: PathBuf,
    pub name: SiteName,
    pub hostname: String,
    pub spool: PathBuf,
    pub public: PathBuf,
    pub postmaster: UserName,
    pub zone: Zone,
    /// Bytes of disk that stay free.
    pub reserve: u64,
    /// How long done deeds are kept.
    pub ledger: Duration,
    pub watch: Arc<call::Watch>,
    pub listen: Listen,
    /// Every port that can be opened by itself.
    pub ports: Vec<Port>,
    pub answering: Vec<call::AnsweringPort>,
    pub shared: Vec<call::SharedPort>,
    pub sites: Arc<Vec<call::Site>>,
    pub mail: Arc<mail::Policy>,
    pub news: Arc<news::Policy>,
    pub peers: Vec<Peer>,
    pub maildirs: Vec<(UserName, PathBuf)>,
}

/// A port that can be opened by itself.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: PortName,
    pub kind: call::PortKind,
    pub stated: call::StatedLine,
}

/// The services; what is not there is off.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    pub smtp: Option<String>,
    pub nntp: Option<String>,
    pub uucp: Option<String>,
    /// Whether UUCP callers over TCP must log in.
    pub uucp_login: bool,
    /// UUCP over telnet, always with a login.
    pub uucp_telnet: Option<String>,
}

/// An NNTP neighbour.
#[derive(Debug, Clone)]
pub struct Peer {
    pub name: PeerName,
    /// `host:port`
    pub address: String,
}

/// One thing that is wrong in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub file: PathBuf,
    /// Counted from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// The key, as `sites.hub.login`.
    pub key: String,
    pub what: String,
    pub hint: String,
}

/// `bangpath.toml:12: sites.hub.call: no port `modm`; did you mean `modem`?`
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.what)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    fn lines(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// The text of a file of the operator's.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(OPERATORS_FILE_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > OPERATORS_FILE_MAX {
        let megabytes = OPERATORS_FILE_MAX >> 20;
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {megabytes} MB")));
    }
    Ok(text)
}

/// Reads and checks a configuration file.
pub fn load(path: &Path) -> Result<Config, Complaints> {
    let text = read_text(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "name it with -c FILE or $BANGPATH_CONFIG; config/examples/ has some to begin with"
            }
            std::io::ErrorKind::PermissionDenied => "run as the user whose configuration it is, often uucp or root",
            _ => "",
        };
        let what = format!("cannot read it: {error}");
        Complaints(vec![Complaint { file: path.to_owned(), line: 0, key: String::new(), what, hint: hint.to_owned() }])
    })?;
    check::check(path, &text)
}
