//! What the user wrote, key by key, and nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

/// A value and where it stands.
pub type At<T> = Spanned<T>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    pub site: Site,
    #[serde(default)]
    pub listen: Listen,
    #[serde(default)]
    pub port: BTreeMap<At<String>, Port>,
    #[serde(default)]
    pub pool: BTreeMap<At<String>, Pool>,
    #[serde(default)]
    pub dial_codes: BTreeMap<At<String>, At<String>>,
    #[serde(default)]
    pub sites: BTreeMap<At<String>, Neighbour>,
    #[serde(default)]
    pub mail: Mail,
    #[serde(default)]
    pub news: News,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Site {
    pub name: At<String>,
    pub domain: At<String>,
    pub hostname: Option<At<String>>,
    pub spool: At<String>,
    pub public: Option<At<String>>,
    pub postmaster: At<String>,
    pub timezone: Option<At<String>>,
    pub reserve: Option<At<String>>,
    pub call_hook: Option<At<Vec<String>>>,
    pub taylor_log: Option<At<String>>,
    pub taylor_stats: Option<At<String>>,
    pub ledger: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listen {
    pub smtp: Option<At<String>>,
    pub nntp: Option<At<String>>,
    pub uucp: Option<At<String>>,
    pub uucp_login: Option<bool>,
    pub uucp_telnet: Option<At<String>>,
}

/// A port, or a way to call a site over one.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    #[serde(rename = "type")]
    pub kind: Option<At<String>>,
    /// Only in a `call` entry: the port whose keys these go before.
    pub port: Option<At<String>>,
    pub device: Option<At<String>>,
    pub server: Option<At<String>>,
    pub speed: Option<At<u32>>,
    pub flow: Option<At<String>>,
    pub parity: Option<At<String>>,
    pub carrier: Option<bool>,
    pub carrier_line: Option<At<String>>,
    pub locks: Option<String>,
    pub modem: Option<At<String>>,
    pub phone: Option<At<String>>,
    pub data_address: Option<At<String>>,
    pub dialect: Option<At<String>>,
    pub call_sign: Option<At<String>>,
    pub station: Option<At<String>>,
    pub setup: Option<At<Vec<String>>>,
    pub answer: Option<bool>,
    pub share: Option<At<String>>,
    pub rings: Option<At<u32>>,
    pub answer_chat: Option<At<String>>,
    pub ask_login: Option<bool>,
    pub address: Option<At<String>>,
    pub telnet: Option<bool>,
    pub command: Option<At<Vec<String>>>,
    pub chat_program: Option<At<Vec<String>>>,
    pub chat_program_limit: Option<At<String>>,
    pub chat: Option<At<String>>,
    pub chat_fail: Option<At<Vec<String>>>,
    pub reliable: Option<bool>,
    pub eight_bit: Option<bool>,
    pub transparent: Option<bool>,
    pub half_duplex: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pool {
    pub ports: At<Vec<At<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Neighbour {
    #[serde(default)]
    pub call: Vec<At<Port>>,
    pub our_name: Option<At<String>>,
    pub login: Option<At<String>>,
    pub password_file: Option<At<String>>,
    pub called_login: Option<At<String>>,
    pub called_chat: Option<At<String>>,
    pub called_chat_fail: Option<At<Vec<String>>>,
    pub protocols: Option<At<String>>,
    #[serde(default)]
    pub protocol: BTreeMap<At<String>, Protocol>,
    pub commands: Option<At<Vec<String>>>,
    pub requests: Option<bool>,
    pub forward_to: Option<At<Vec<String>>>,
    pub forward_from: Option<At<Vec<String>>>,
    pub send_limits: Option<Vec<SizeLimit>>,
    pub receive_limits: Option<Vec<SizeLimit>>,
    pub sequence: Option<bool>,
    pub call_back: Option<At<bool>>,
    pub longest_call: Option<At<String>>,
    pub schedule: Option<Vec<Window>>,
    pub timezone: Option<At<String>>,
    pub poll: Option<At<String>>,
    pub retry: Option<At<String>>,
    pub retry_longest: Option<At<String>>,
    #[serde(default)]
    pub mail: SiteMail,
    pub news: Option<SiteNews>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SizeLimit {
    pub when: Option<At<String>>,
    pub called: Option<bool>,
    pub size: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Protocol {
    pub window: Option<At<u8>>,
    pub packet_size: Option<At<u16>>,
    pub timeout: Option<At<String>>,
    pub retries: Option<At<u32>>,
    pub errors: Option<At<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Window {
    pub when: At<String>,
    pub grade: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SiteMail {
    pub format: Option<At<String>>,
    pub size: Option<At<String>>,
    pub addresses: Option<At<String>>,
    pub relay: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SiteNews {
    pub groups: At<String>,
    pub format: Option<At<String>>,
    pub size: Option<At<String>>,
    pub path_names: Option<Vec<String>>,
    pub distributions: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mail {
    pub local_domains: Option<At<Vec<String>>>,
    pub relay_from: Option<At<Vec<String>>>,
    pub max_size: Option<At<String>>,
    pub lifetime: Option<At<String>>,
    #[serde(default)]
    pub route: Vec<Route>,
    #[serde(default)]
    pub maildir: BTreeMap<At<String>, At<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Route {
    pub to: At<String>,
    pub via: At<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct News {
    pub path_name: Option<At<String>>,
    pub create: Option<At<String>>,
    pub max_size: Option<At<String>>,
    pub max_age: Option<At<String>>,
    #[serde(default)]
    pub peers: BTreeMap<At<String>, Peer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peer {
    pub host: At<String>,
    pub send: Option<At<String>>,
    pub path_names: Option<Vec<String>>,
    pub distributions: Option<Vec<String>>,
}
