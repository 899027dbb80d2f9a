//! From what the user wrote to what the floors want, with every complaint collected.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::ports::Ports;
use super::units::{duration, nearest, size};
use super::{Complaint, Complaints, Config, Listen, Peer, raw};
use crate::base::address::Domain;
use crate::base::limits::{ARTICLE_MAX, MESSAGE_MAX};
use crate::base::names::{Grade, PeerName, SiteName, UserName};
use crate::base::newsgroup::Wildmat;
use crate::call::{self, ChatProgram, Forwarding, SecretCredentials, Way};
use crate::mail::{self, Addressing, Pattern, SiteMail, Via};
use crate::news::{self, Feed};
use crate::proto::{self, Settings};
use crate::sched::{Retry, SizeLimit, TimeString, Window, Zone};
use crate::session::SettingsByProtocol;
use crate::session::chat::{Credentials, Script};
use crate::store::Hop;
use crate::wire::bsmtp;
use crate::wire::packing::{BatchForm, Packing};

/// How many unknown keys are shown before we stop looking for more.
const UNKNOWN_MAX: usize = 30;
/// A longer pause is not believed when it is found in the store: the clock may have been set back. A tenth is added.
const RETRY_MAX: &str = "6d";
const POLL_MAX: &str = "365d";
/// A peer that says a byte now and then shall not hold a line for ever; what has not gone goes on in the next call.
const LONGEST_CALL: Duration = Duration::from_secs(12 * 3600);
/// Time-outs of protocols are multiplied.
const TIMEOUT_MAX: &str = "1h";

/// Checks the text of a configuration file.
pub fn check(path: &Path, text: &str) -> Result<Config, Complaints> {
    let mut checker = Checker { path, text, complaints: Vec::new(), dial_codes: BTreeMap::new() };
    let config = checker.parse().and_then(|file| checker.config(file));
    let mut complaints = checker.complaints;
    complaints.sort_by_key(|c| c.line);
    // What is wrong with an entry is found once for each port of its pool.
    complaints.dedup();
    match config {
        Some(config) if complaints.is_empty() => Ok(config),
        _ => Err(Complaints(complaints)),
    }
}

pub(super) struct Checker<'a> {
    pub(super) path: &'a Path,
    text: &'a str,
    complaints: Vec<Complaint>,
    /// What stands for a name at the beginning of a phone number.
    pub(super) dial_codes: BTreeMap<String, String>,
}

impl Checker<'_> {
    pub(super) fn complain(&mut self, span: Range<usize>, key: &str, what: impl Into<String>, hint: impl Into<String>) {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let (key, what, hint) = (key.to_owned(), what.into(), hint.into());
        self.complaints.push(Complaint { file: self.path.to_owned(), line, key, what, hint });
    }

    /// Reads the file. An unknown key is noted and blanked out, so that the next one is found too.
    fn parse(&mut self) -> Option<raw::File> {
        let mut text = self.text.to_owned();
        for _ in 0..UNKNOWN_MAX {
            let error = match toml::from_str(&text) {
                Ok(file) => return Some(file),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            let message = error.message().to_owned();
            let Some(rest) = message.strip_prefix("unknown field `") else {
                let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
                let hint =
                    missing.map_or(String::new(), |key| format!("write {key} = … here; config/bangpath.toml shows it"));
                self.complain(span, "", message.replace('\n', " "), hint);
                return None;
            };
            let (key, known) = rest.split_once('`').unwrap_or((rest, ""));
            let words: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            let hint = match nearest(key, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("known here: {}", words.join(", ")),
            };
            self.complain(span.clone(), key, "no such key", hint);
            let start = text[..span.start].rfind('\n').map_or(0, |n| n + 1);
            let end = text[span.start..].find('\n').map_or(text.len(), |n| span.start + n);
            // A key inside an inline table or of a whole section cannot be cut out by its line.
            if text[start..span.start].trim().is_empty() && start < end {
                text.replace_range(start..end, &" ".repeat(end - start));
            } else {
                return None;
            }
        }
        None
    }

    /// Parses a value; a failure becomes a complaint.
    pub(super) fn take<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        value: &raw::At<String>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(value.get_ref()) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.complain(value.span(), key, error.to_string(), "");
                None
            }
        }
    }

    fn size(&mut self, key: &str, value: Option<&raw::At<String>>, default: u64) -> u64 {
        let parsed = value
            .and_then(|v| self.take(key, v, |t| size(t).ok_or(format!("`{t}` is no size: write 100K, 64M or 2G"))));
        parsed.unwrap_or(default)
    }

    pub(super) fn duration(&mut self, key: &str, value: Option<&raw::At<String>>, default: Duration) -> Duration {
        self.duration_if(key, value).unwrap_or(default)
    }

    fn duration_if(&mut self, key: &str, value: Option<&raw::At<String>>) -> Option<Duration> {
        value.and_then(|v| {
            self.take(key, v, |t| duration(t).ok_or(format!("`{t}` is no duration: write 30s, 10m, 1h or 7d")))
        })
    }

    /// What comes again after a while: of nothing it would come without end.
    pub(super) fn wait_if(&mut self, key: &str, value: Option<&raw::At<String>>, most: &str) -> Option<Duration> {
        let wait = self.duration_if(key, value)?;
        if wait.is_zero() || duration(most).is_some_and(|most| wait > most) {
            let what = format!("`{}` is not between 1s and {most}", value?.get_ref());
            self.complain(value?.span(), key, what, "");
        }
        Some(wait)
    }

    fn zone(&mut self, key: &str, value: Option<&raw::At<String>>) -> Option<Zone> {
        value.and_then(|v| {
            self.take(key, v, |t| Zone::named(t).ok_or(format!("no time zone `{t}`: write one such as Europe/Berlin")))
        })
    }

    fn config(&mut self, file: raw::File) -> Option<Config> {
        let name = self.take("site.name", &file.site.name, SiteName::parse);
        let domain = self.take("site.domain", &file.site.domain, Domain::parse);
        let postmaster = self.take("site.postmaster", &file.site.postmaster, UserName::parse);
        let spool = PathBuf::from(file.site.spool.get_ref());
        if !spool.is_absolute() {
            self.complain(
                file.site.spool.span(),
                "site.spool",
                "it is no absolute path",
                "write it from the root on, as /var/spool/bangpath",
            );
        }
        if spool.exists() && !spool.is_dir() {
            let hint = "name a folder; it is made if it is not there";
            self.complain(file.site.spool.span(), "site.spool", "it is no folder", hint);
        }
        let public = file.site.public.as_ref().map_or(spool.join("public"), |p| PathBuf::from(p.get_ref()));
        if let Some(path) = file.site.public.as_ref().filter(|p| !Path::new(p.get_ref()).is_absolute()) {
            self.complain(path.span(), "site.public", "it is no absolute path", "write it from the root on");
        }
        let reserve = self.size("site.reserve", file.site.reserve.as_ref(), 50 << 20);
        let ledger = self.duration("site.ledger", file.site.ledger.as_ref(), Duration::from_secs(365 * 24 * 3600));
        let path = |value: &Option<raw::At<String>>| value.as_ref().map(|path| PathBuf::from(path.get_ref()));
        let watch = call::Watch {
            hook: file.site.call_hook.as_ref().map_or(Vec::new(), |hook| hook.get_ref().clone()),
            log: path(&file.site.taylor_log),
            statistics: path(&file.site.taylor_stats),
        };
        let zone = self.zone("site.timezone", file.site.timezone.as_ref()).unwrap_or_else(Zone::system);
        // A complaint has been made; the rest of the file is checked all the same.
        let name = name.unwrap_or_else(|| SiteName::parse("unnamed").expect("a site name"));
        let domain = domain.unwrap_or_else(|| Domain::parse("unnamed.invalid").expect("a domain"));
        let postmaster = postmaster.unwrap_or_else(|| UserName::parse("postmaster").expect("a user name"));
        let hostname = file.site.hostname.as_ref().and_then(|h| self.take("site.hostname", h, greeting_name));
        let hostname = hostname.unwrap_or_else(|| domain.as_str().to_owned());
        let listen = Listen {
            smtp: self.listen("listen.smtp", file.listen.smtp.as_ref()),
            nntp: self.listen("listen.nntp", file.listen.nntp.as_ref()),
            uucp: self.listen_or_path("listen.uucp", file.listen.uucp.as_ref()),
            uucp_login: file.listen.uucp_login.unwrap_or(true),
            uucp_telnet: self.listen("listen.uucp-telnet", file.listen.uucp_telnet.as_ref()),
        };
        self.listen_twice(&file.listen);
        self.dial_codes = self.dial_codes(&file.dial_codes);
        let ports = Ports { single: file.port, pools: file.pool };
        let (ports_by_name, answering) = self.ports(&ports);
        let shared = self.shared(&ports);
        self.pools(&ports);
        let mut sites = Vec::new();
        let mut site_mail = BTreeMap::new();
        let mut feeds = Vec::new();
        for (key, neighbour) in &file.sites {
            let prefix = format!("sites.{}", key.get_ref());
            let Some(site_name) = self.take(&prefix, key, SiteName::parse) else { continue };
            if site_name == name {
                self.complain(key.span(), &prefix, "it is the name of this site", "name a site beside it");
            }
            site_mail.insert(site_name.clone(), self.site_mail(&prefix, &neighbour.mail));
            if let Some(news) = &neighbour.news {
                self.groups(&format!("{prefix}.news"), &news.groups);
                feeds.push(site_feed(&site_name, news));
            }
            let neighbour = Neighbour { prefix, name: site_name, raw: neighbour };
            sites.push(self.site(&name, &zone, &ports, &neighbour));
        }
        let mail = self.mail(&file.mail, &name, &domain, &hostname, &postmaster, site_mail);
        let maildirs = self.maildirs(&file.mail);
        let peers = self.peers(&file.news, &mut feeds);
        let news = self.news(&file.news, &name, &domain, feeds);
        Some(Config {
            path: self.path.to_owned(),
            name,
            hostname,
            spool,
            public,
            postmaster,
            zone,
            reserve,
            ledger,
            watch: Arc::new(watch),
            listen,
            ports: ports_by_name,
            answering,
            shared,
            sites: Arc::new(sites.into_iter().flatten().collect()),
            mail: Arc::new(mail),
            news: Arc::new(news),
            peers,
            maildirs,
        })
    }

    fn listen(&mut self, key: &str, value: Option<&raw::At<String>>) -> Option<String> {
        let value = value?;
        self.take(key, value, |text| match text.parse::<std::net::SocketAddr>() {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err(format!("`{text}` is no address to listen on: write 127.0.0.1:25, 0.0.0.0:540 or [::]:119")),
        })
    }

    /// Two services cannot have one address; port 0 is another one each time.
    fn listen_twice(&mut self, listen: &raw::Listen) {
        let keys = ["listen.smtp", "listen.nntp", "listen.uucp", "listen.uucp-telnet"];
        let values = [&listen.smtp, &listen.nntp, &listen.uucp, &listen.uucp_telnet];
        let mut seen: Vec<(std::net::SocketAddr, &str)> = Vec::new();
        for (key, value) in keys.iter().zip(values).filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            let Ok(address) = value.get_ref().parse::<std::net::SocketAddr>() else { continue };
            match seen.iter().find(|(other, _)| *other == address && address.port() != 0) {
                Some((_, other)) => {
                    let what = format!("{address} is the address of {other} already");
                    self.complain(value.span(), key, what, "give each service a port of its own");
                }
                None => seen.push((address, *key)),
            }
        }
    }

    /// The same, or the path of a Unix socket.
    fn listen_or_path(&mut self, key: &str, value: Option<&raw::At<String>>) -> Option<String> {
        match value.filter(|value| value.get_ref().starts_with('/')) {
            Some(path) => Some(path.get_ref().clone()),
            None => self.listen(key, value),
        }
    }

    // --- sites ----------------------------------------------------------------------------------

    fn site(
        &mut self,
        our_name: &SiteName,
        zone: &Zone,
        ports: &Ports,
        neighbour: &Neighbour<'_>,
    ) -> Option<call::Site> {
        let Neighbour { prefix, name, raw } = neighbour;
        let key = |k: &str| format!("{prefix}.{k}");
        let entries = raw.call.iter().enumerate();
        let ways: Vec<Way> = entries.flat_map(|(n, entry)| self.ways(&key("call"), ports, n, entry)).collect();
        let our_name = match &raw.our_name {
            Some(value) => self.take(&key("our-name"), value, SiteName::parse)?,
            None => our_name.clone(),
        };
        let credentials = self.credentials(prefix, raw);
        let called_chat = self.called_chat(&key("called-chat"), raw);
        let asks =
            |way: &Way| way.chat.needs_login() || way.chat_program.as_ref().is_some_and(ChatProgram::needs_login);
        let needs_login = called_chat.needs_login() || ways.iter().any(asks);
        if needs_login && credentials.is_none() {
            let at = raw.call.first().map(raw::At::span).or(raw.called_chat.as_ref().map(raw::At::span));
            let by_chat = called_chat.needs_login() || ways.iter().any(|way| way.chat.needs_login());
            let (what, hint) = match by_chat {
                true => ("the chat", "give login and password-file, or chat = \"\" where the site asks for none"),
                false => ("the chat-program", "give login and password-file"),
            };
            self.complain(at.unwrap_or_default(), prefix, format!("{what} needs a login, and none is given"), hint);
        }
        let call_back = raw.call_back.as_ref().is_some_and(|v| *v.get_ref());
        if let Some(value) = raw.call_back.as_ref().filter(|v| *v.get_ref() && raw.call.is_empty()) {
            let hint = "give it a way: call = [{ port = … }]";
            self.complain(value.span(), &key("call-back"), "no way to call it is configured", hint);
        }
        let (commands, programs) = self.commands(&key("commands"), raw.commands.as_ref());
        let usual = Retry::default();
        let retry = Retry {
            first: self.wait_if(&key("retry"), raw.retry.as_ref(), RETRY_MAX).unwrap_or(usual.first),
            longest: self
                .wait_if(&key("retry-longest"), raw.retry_longest.as_ref(), RETRY_MAX)
                .unwrap_or(usual.longest),
        };
        Some(call::Site {
            name: name.clone(),
            our_name: our_name.to_string(),
            ways,
            credentials,
            called_login: raw.called_login.as_ref().map(|l| l.get_ref().clone()),
            called_chat,
            protocols: self.protocols(&key("protocols"), raw.protocols.as_ref()),
            settings: self.settings(prefix, raw),
            commands,
            programs,
            may_request: raw.requests.unwrap_or(true),
            windows: self.windows(&key("schedule"), raw),
            zone: self.zone(&key("timezone"), raw.timezone.as_ref()).unwrap_or_else(|| zone.clone()),
            poll_every: self.wait_if(&key("poll"), raw.poll.as_ref(), POLL_MAX),
            retry,
            batch: self.batch(&key("news"), raw.news.as_ref()),
            sequence: raw.sequence.unwrap_or(false),
            call_back,
            longest_call: self.duration(&key("longest-call"), raw.longest_call.as_ref(), LONGEST_CALL),
            send_limits: self.size_limits(&key("send-limits"), raw.send_limits.as_ref()),
            receive_limits: self.size_limits(&key("receive-limits"), raw.receive_limits.as_ref()),
            forward_to: self.forwarding(&key("forward-to"), raw.forward_to.as_ref()),
            forward_from: self.forwarding(&key("forward-from"), raw.forward_from.as_ref()),
        })
    }

    fn credentials(&mut self, prefix: &str, raw: &raw::Neighbour) -> Option<SecretCredentials> {
        let login = raw.login.as_ref()?.get_ref().clone();
        let password = match &raw.password_file {
            None => String::new(),
            Some(file) => {
                let below = self.path.parent().unwrap_or(Path::new(""));
                let path = below.join(file.get_ref());
                match super::read_text(&path) {
                    Ok(text) => text.lines().next().unwrap_or("").to_owned(),
                    Err(error) => {
                        let key = format!("{prefix}.password-file");
                        self.complain(
                            file.span(),
                            &key,
                            format!("cannot read {}: {error}", path.display()),
                            "the password is its first line",
                        );
                        return None;
                    }
                }
            }
        };
        Some(SecretCredentials(Credentials { login, password }))
    }

    fn protocols(&mut self, key: &str, value: Option<&raw::At<String>>) -> Option<String> {
        let value = value?;
        if value.get_ref().is_empty() {
            self.complain(value.span(), key, "no protocol is named", "leave it out for all that suit the link");
        }
        let ours: String = proto::PROTOCOLS.iter().map(|e| e.letter).collect();
        match value.get_ref().chars().find(|l| proto::entry(*l).is_none()) {
            Some(letter) => {
                self.complain(
                    value.span(),
                    key,
                    format!("we do not speak protocol `{letter}`"),
                    format!("known: {ours}"),
                );
                None
            }
            None => Some(value.get_ref().clone()),
        }
    }

    fn settings(&mut self, prefix: &str, raw: &raw::Neighbour) -> SettingsByProtocol {
        let mut set = SettingsByProtocol::default();
        for (letter, values) in &raw.protocol {
            let key = format!("{prefix}.protocol.{}", letter.get_ref());
            let Some(entry) =
                letter.get_ref().chars().next().filter(|_| letter.get_ref().len() == 1).and_then(proto::entry)
            else {
                self.complain(letter.span(), &key, "we do not speak this protocol", "");
                continue;
            };
            let mut settings = Settings::default();
            let like_g = matches!(entry.letter, 'g' | 'G' | 'v');
            let (window_max, size_max) = if like_g { (7, 4096) } else { (16, 4095) };
            if let Some(window) = &values.window {
                if (1..=window_max).contains(window.get_ref()) {
                    settings.window = Some(*window.get_ref());
                } else {
                    self.complain(window.span(), &key, format!("a window is 1 to {window_max}"), "");
                }
            }
            if let Some(packet) = &values.packet_size {
                let fits =
                    (32..=size_max).contains(packet.get_ref()) && (!like_g || packet.get_ref().is_power_of_two());
                if fits {
                    settings.packet_size = Some(*packet.get_ref());
                } else {
                    self.complain(
                        packet.span(),
                        &key,
                        format!("a packet size is 32 to {size_max}, in g, G and v a power of two"),
                        "",
                    );
                }
            }
            settings.timeout = self.wait_if(&key, values.timeout.as_ref(), TIMEOUT_MAX);
            settings.retries = values.retries.as_ref().map(|v| *v.get_ref());
            settings.errors = values.errors.as_ref().map(|v| *v.get_ref());
            set.0.insert(entry.letter, settings);
        }
        set
    }

    fn called_chat(&mut self, key: &str, raw: &raw::Neighbour) -> Script {
        let fail = raw.called_chat_fail.as_ref().map_or(Vec::new(), |fail| fail.get_ref().clone());
        let script = raw.called_chat.as_ref().and_then(|text| self.take(key, text, |text| Script::parse(text, &fail)));
        script.unwrap_or_default()
    }

    /// Those that are built in, and programs by their paths. What `uucp` may do is said elsewhere, but Taylor's lists have it.
    fn commands(&mut self, key: &str, value: Option<&raw::At<Vec<String>>>) -> (Vec<String>, Vec<PathBuf>) {
        let usual = ["rmail", "rnews"];
        let Some(value) = value else { return (usual.map(str::to_owned).into(), Vec::new()) };
        let built_in = |name: &str| usual.contains(&name) || name == "uucp" || bsmtp::COMMANDS.contains(&name);
        let (programs, commands): (Vec<_>, Vec<_>) = value.get_ref().iter().cloned().partition(|c| c.starts_with('/'));
        for command in commands.iter().filter(|command| !built_in(command)) {
            let known = bsmtp::COMMANDS.join(", ");
            let hint = format!("built in are: rmail, rnews, {known}; a program has its path: /usr/bin/{command}");
            self.complain(value.span(), key, format!("no command `{command}`"), hint);
        }
        let programs: Vec<PathBuf> = programs.into_iter().map(PathBuf::from).collect();
        for program in &programs {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            if built_in(&name) {
                self.complain(value.span(), key, format!("`{name}` is built in"), "name it without a path");
            } else if !program.is_file() {
                self.complain(value.span(), key, format!("there is no program {}", program.display()), "");
            }
        }
        (commands, programs)
    }

    fn size_limits(&mut self, key: &str, limits: Option<&Vec<raw::SizeLimit>>) -> Vec<SizeLimit> {
        let limits = limits.into_iter().flatten().filter_map(|limit| {
            let when = match &limit.when {
                Some(when) => self.take(key, when, TimeString::parse)?,
                None => TimeString::parse("Any").expect("Any is a time"),
            };
            Some(SizeLimit { when, called: limit.called, size: self.size(key, Some(&limit.size), u64::MAX) })
        });
        limits.collect()
    }

    fn forwarding(&mut self, key: &str, sites: Option<&raw::At<Vec<String>>>) -> Forwarding {
        if sites.is_some_and(|sites| sites.get_ref().iter().any(|site| site == "*")) {
            return Forwarding::Any;
        }
        Forwarding::Sites(self.list(key, sites, SiteName::parse))
    }

    fn windows(&mut self, key: &str, raw: &raw::Neighbour) -> Vec<Window> {
        let Some(schedule) = &raw.schedule else {
            return vec![Window { when: TimeString::parse("Any").expect("Any is a time"), worst: Grade::LEAST }];
        };
        let windows = schedule.iter().filter_map(|window| {
            let when = self.take(key, &window.when, TimeString::parse)?;
            let grade = |text: &str| {
                let mut letters = text.chars();
                let first = letters.next().filter(|_| letters.next().is_none()).and_then(Grade::parse);
                first.ok_or(format!("`{text}` is no grade: one of 0-9, A-Z, a-z"))
            };
            let worst = match &window.grade {
                Some(text) => self.take(key, text, grade)?,
                None => Grade::LEAST,
            };
            Some(Window { when, worst })
        });
        windows.collect()
    }

    fn batch(&mut self, key: &str, news: Option<&raw::SiteNews>) -> BatchForm {
        let mut form = BatchForm { packing: Packing::Gzip, size: BatchForm::SIZE };
        let Some(news) = news else { return form };
        form.size = self.size(key, news.size.as_ref(), form.size);
        if let Some(format) = &news.format {
            let parse = |text: &str| match text {
                "rnews" => Ok(Packing::Plain),
                "gunbatch" => Ok(Packing::Gzip),
                "cunbatch" => Ok(Packing::Compress),
                other => Err(format!("no news format `{other}`: known are rnews, gunbatch, cunbatch")),
            };
            form.packing = self.take(key, format, parse).unwrap_or(form.packing);
        }
        form
    }

    // --- mail -----------------------------------------------------------------------------------

    fn site_mail(&mut self, prefix: &str, raw: &raw::SiteMail) -> SiteMail {
        let key = format!("{prefix}.mail");
        let parse = |text: &str| match text {
            "domain" => Ok(Addressing::Domain),
            "bang" => Ok(Addressing::Bang),
            other => Err(format!("no kind of addresses `{other}`: known are domain, bang")),
        };
        let addressing = raw.addresses.as_ref().and_then(|v| self.take(&key, v, parse)).unwrap_or_default();
        SiteMail { addressing, batch: self.mail_batch(&key, raw), relay: raw.relay.unwrap_or(false) }
    }

    fn mail_batch(&mut self, key: &str, raw: &raw::SiteMail) -> Option<BatchForm> {
        let parse = |text: &str| match text {
            "rmail" => Ok(None),
            "rsmtp" => Ok(Some(Packing::Plain)),
            "rcsmtp" => Ok(Some(Packing::Compress)),
            "rgsmtp" => Ok(Some(Packing::Gzip)),
            other => Err(format!("no mail format `{other}`: known are rmail, rsmtp, rcsmtp, rgsmtp")),
        };
        let packing = raw.format.as_ref().and_then(|format| self.take(key, format, parse)).flatten();
        let size = self.size(key, raw.size.as_ref(), BatchForm::SIZE);
        Some(BatchForm { packing: packing?, size })
    }

    fn mail(
        &mut self,
        raw: &raw::Mail,
        name: &SiteName,
        domain: &Domain,
        hostname: &str,
        postmaster: &UserName,
        sites: BTreeMap<SiteName, SiteMail>,
    ) -> mail::Policy {
        let domains = raw.local_domains.as_ref();
        let local_domains = self.list("mail.local-domains", domains, Domain::parse).into_iter().collect();
        let relay_from = match &raw.relay_from {
            None => ["127.0.0.0/8", "::1/128"].map(|n| n.parse().expect("a network")).into(),
            some => self.list("mail.relay-from", some.as_ref(), |text| {
                let one = |t: &str| t.parse::<std::net::IpAddr>().map(ipnet::IpNet::from);
                text.parse().or_else(|_| one(text)).map_err(|_| format!("`{text}` is no network: write 192.168.0.0/16"))
            }),
        };
        let names: BTreeSet<&str> = sites.keys().map(SiteName::as_str).collect();
        let routes = raw.route.iter().filter_map(|route| {
            let pattern = self.take("mail.route.to", &route.to, Pattern::parse);
            let via = self.take("mail.route.via", &route.via, |text| parse_via(text, &names));
            Some((pattern?, via?))
        });
        let routes = routes.collect();
        mail::Policy {
            name: name.clone(),
            domain: domain.clone(),
            hostname: hostname.to_owned(),
            local_domains,
            postmaster: postmaster.clone(),
            relay_from,
            routes,
            sites,
            maildirs: raw.maildir.keys().filter_map(|u| UserName::parse(u.get_ref()).ok()).collect(),
            message_max: self.size("mail.max-size", raw.max_size.as_ref(), MESSAGE_MAX),
            queue_lifetime: self.duration("mail.lifetime", raw.lifetime.as_ref(), Duration::from_secs(7 * 24 * 3600)),
        }
    }

    fn list<T, E: std::fmt::Display>(
        &mut self,
        key: &str,
        value: Option<&raw::At<Vec<String>>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some(value) = value else { return Vec::new() };
        let mut parsed = Vec::new();
        for text in value.get_ref() {
            match parse(text) {
                Ok(one) => parsed.push(one),
                Err(error) => self.complain(value.span(), key, error.to_string(), ""),
            }
        }
        parsed
    }

    fn maildirs(&mut self, raw: &raw::Mail) -> Vec<(UserName, PathBuf)> {
        let maildirs = raw.maildir.iter().filter_map(|(user, path)| {
            let name = self.take("mail.maildir", user, UserName::parse)?;
            Some((name, PathBuf::from(path.get_ref())))
        });
        maildirs.collect()
    }

    /// A feed that chooses no group is a mistake: nothing would ever go there.
    fn groups(&mut self, key: &str, value: &raw::At<String>) {
        let chooses = value.get_ref().split(',').any(|p| !matches!(p.trim().chars().next(), None | Some('!' | '@')));
        if !chooses {
            let hint = "write patterns as comp.*,local.*, or leave it out to send no news";
            self.complain(value.span(), key, "it chooses no group", hint);
        }
    }

    // --- news -----------------------------------------------------------------------------------

    fn peers(&mut self, raw: &raw::News, feeds: &mut Vec<Feed>) -> Vec<Peer> {
        let mut peers = Vec::new();
        for (key, peer) in &raw.peers {
            let Some(name) = self.take("news.peers", key, PeerName::parse) else { continue };
            let host = peer.host.get_ref();
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let address = if has_port { host.clone() } else { format!("{host}:119") };
            if let Some(send) = &peer.send {
                self.groups(&format!("news.peers.{name}.send"), send);
                feeds.push(Feed {
                    hop: Hop::Nntp(name.clone()),
                    path_names: peer.path_names.clone().unwrap_or_else(|| vec![host_name(host).to_owned()]),
                    groups: Wildmat::parse(send.get_ref()),
                    distributions: peer.distributions.clone().unwrap_or_default(),
                });
            }
            peers.push(Peer { name, address });
        }
        peers
    }

    fn news(&mut self, raw: &raw::News, name: &SiteName, domain: &Domain, feeds: Vec<Feed>) -> news::Policy {
        news::Policy {
            path_name: raw.path_name.as_ref().map_or(name.to_string(), |p| p.get_ref().clone()),
            domain: domain.to_string(),
            create: Wildmat::parse(raw.create.as_ref().map_or("", |c| c.get_ref())),
            article_max: self.size("news.max-size", raw.max_size.as_ref(), ARTICLE_MAX),
            age_max: self.duration("news.max-age", raw.max_age.as_ref(), news::ANY_AGE),
            feeds,
        }
    }
}

struct Neighbour<'a> {
    prefix: String,
    name: SiteName,
    raw: &'a raw::Neighbour,
}

fn site_feed(name: &SiteName, news: &raw::SiteNews) -> Feed {
    Feed {
        hop: Hop::Site(name.clone()),
        path_names: news.path_names.clone().unwrap_or_else(|| vec![name.to_string()]),
        groups: Wildmat::parse(news.groups.get_ref()),
        distributions: news.distributions.clone().unwrap_or_default(),
    }
}

fn host_name(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// What we say we are to SMTP and NNTP.
fn greeting_name(text: &str) -> Result<String, &'static str> {
    let is_one = !text.is_empty() && !text.contains(|c: char| c.is_control() || c == ' ');
    is_one.then(|| text.to_owned()).ok_or("a name in a greeting has neither spaces nor control characters")
}

/// `local`, `uucp:SITE`, `smtp:HOST[:PORT]`, `bounce:REASON`.
fn parse_via(text: &str, sites: &BTreeSet<&str>) -> Result<Via, String> {
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    match (kind, rest) {
        ("local", "") => Ok(Via::Local),
        ("uucp", site) if sites.contains(site) => SiteName::parse(site).map(Via::Site).map_err(|e| e.to_string()),
        ("uucp", site) => Err(match nearest(site, sites.iter().copied()) {
            Some(near) => format!("no site `{site}`; did you mean `{near}`?"),
            None => format!("no site `{site}`; write a section [sites.{site}]"),
        }),
        ("smtp", host) if !host.is_empty() => match host.rsplit_once(':').map(|(h, p)| (h, p.parse())) {
            Some((host, Ok(port))) => Ok(Via::Smtp { host: host.to_owned(), port }),
            Some((_, Err(_))) if !host.ends_with(']') => Err(format!("`{host}` ends in no port number")),
            Some(_) | None => Ok(Via::Smtp { host: host.to_owned(), port: 25 }),
        },
        ("bounce", reason) if !reason.is_empty() && !reason.contains(char::is_control) => {
            Ok(Via::Bounce(reason.to_owned()))
        }
        _ => Err(format!("`{text}` is no way: write local, uucp:SITE, smtp:HOST[:PORT] or bounce:REASON")),
    }
}
