//! The sample configurations are held to the code, and complaints say what a person needs.

use std::fs;
use std::path::{Path, PathBuf};

use bangpath::config::{Config, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn load_text(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("secrets")).expect("a folder");
    fs::write(dir.path().join("secrets/hub"), "secret\n").expect("a file");
    let path = dir.path().join("bangpath.toml");
    fs::write(&path, text).expect("a file");
    let shown = format!("{}/", dir.path().display());
    load(&path).map_err(|complaints| complaints.to_string().replace(&shown, ""))
}

/// The sample with every setting in force.
fn uncommented() -> String {
    let text = fs::read_to_string(folder().join("bangpath.toml")).expect("the sample");
    let line = |l: &str| match l.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{l}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_sample_loads_as_it_is_and_with_every_setting_in_force() {
    load(&folder().join("bangpath.toml")).expect("no complaints");
    let config = load_text(&uncommented()).expect("no complaints");
    assert_eq!(config.sites[0].ways.len(), 2);
    assert_eq!(config.maildirs.len(), 1);
}

#[test]
fn the_sample_names_every_key_there_is() {
    let raw = fs::read_to_string(folder().join("../src/config/raw.rs")).expect("the source");
    let sample = uncommented();
    let fields = raw.lines().filter_map(|l| l.trim().strip_prefix("pub ")).filter_map(|l| l.split_once(':'));
    let mut missing = Vec::new();
    for (field, _) in fields {
        let key = if field == "kind" { "type".to_owned() } else { field.replace('_', "-") };
        let forms = [format!("{key} ="), format!("[{key}"), format!(".{key}"), format!("{{ {key}")];
        if !forms.iter().any(|f| sample.contains(f.as_str())) {
            missing.push(key);
        }
    }
    assert!(missing.is_empty(), "config/bangpath.toml does not show {missing:?}");
}

#[test]
fn the_examples_load() {
    let mut count = 0;
    for entry in fs::read_dir(folder().join("examples")).expect("the examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "toml") {
            load(&path).unwrap_or_else(|complaints| panic!("{complaints}"));
            count += 1;
        }
    }
    assert_eq!(count, 3);
}

const GOOD: &str = r#"[site]
name = "village"
domain = "village.example"
spool = "/tmp/x"
postmaster = "alice"
"#;

fn complain(more: &str, expected: &str) {
    let got = load_text(&format!("{GOOD}{more}")).err().unwrap_or("no complaints".to_owned());
    assert_eq!(got, expected, "{more}");
}

#[test]
fn every_complaint_has_a_line_and_a_hint() {
    complain("", "no complaints");
    complain(
        "postmster = \"x\"\n[listen]\nsmpt = \"x\"\n",
        "bangpath.toml:6: postmster: no such key; did you mean `postmaster`?\nbangpath.toml:8: smpt: no such key; did you mean `smtp`?",
    );
    complain(
        "[port.modem]\ntype = \"serial\"\ndevice = \"/dev/ttyS0\"\n[sites.hub]\ncall = [{ port = \"modm\" }]\n",
        "bangpath.toml:10: sites.hub.call: no port `modm`; did you mean `modem`?",
    );
    complain(
        "[port.a]\ntype = \"serail\"\n[sites.hub]\ncall = [{ port = \"a\" }]\nprotocols = \"iz\"\nschedule = [{ when = \"Mon\" }]\n",
        "bangpath.toml:7: port.a: no port type `serail`; known: serial, tcp, pipe, modem-tcp\n\
         bangpath.toml:10: sites.hub.protocols: we do not speak protocol `z`; known: iteyjvGgaf\n\
         bangpath.toml:11: sites.hub.schedule: `Mon` is no time: write Any, Never, Wk, days such as MoWeFr, with hours such as 2300-0700, joined by commas",
    );
    complain(
        "hostname = \"a\\r\\nb\"\n[sites.village]\nprotocols = \"\"\n",
        "bangpath.toml:6: site.hostname: a name in a greeting has neither spaces nor control characters\n\
         bangpath.toml:7: sites.village: it is the name of this site; name a site beside it\n\
         bangpath.toml:8: sites.village.protocols: no protocol is named; leave it out for all that suit the link",
    );
    complain(
        "[sites.hub]\nlogin = \"U\"\npassword-file = \"/dev/zero\"\n",
        "bangpath.toml:8: sites.hub.password-file: cannot read /dev/zero: it is larger than 4 MB; the password is its first line",
    );
    complain(
        "[[mail.route]]\nto = \"*\"\nvia = \"uucp:hbu\"\n[sites.hub]\n",
        "bangpath.toml:8: mail.route.via: no site `hbu`; did you mean `hub`?",
    );
    complain(
        "[port.net]\ntype = \"tcp\"\n[sites.hub]\ncall = [{ port = \"net\", address = \"hub\" }]\n",
        "bangpath.toml:9: sites.hub: the chat needs a login, and none is given; give login and password-file, or chat = \"\" where the site asks for none",
    );
    complain(
        "[listen]\nsmtp = \"127.0.0.1:2525\"\nnntp = \"127.0.0.1:0\"\nuucp = \"127.0.0.1:2525\"\n",
        "bangpath.toml:9: listen.uucp: 127.0.0.1:2525 is the address of listen.smtp already; give each service a port of its own",
    );
    complain(
        "[sites.hub]\nnews = { groups = \"\" }\n[news.peers.up]\nhost = \"up\"\nsend = \"!local.*\"\n",
        "bangpath.toml:7: sites.hub.news: it chooses no group; write patterns as comp.*,local.*, or leave it out to send no news\n\
         bangpath.toml:10: news.peers.up.send: it chooses no group; write patterns as comp.*,local.*, or leave it out to send no news",
    );
    complain(
        "[listen]\nsmtp = \"25\"\n",
        "bangpath.toml:7: listen.smtp: `25` is no address to listen on: write 127.0.0.1:25, 0.0.0.0:540 or [::]:119",
    );
}

#[test]
fn what_comes_again_after_a_while_does_not_come_without_end() {
    let check = |keys: &str, expected: &str| complain(&format!("[sites.hub]\n{keys}"), expected);
    check(
        "retry = \"1s\"\nretry-longest = \"6d\"\npoll = \"7d\"\n[sites.hub.protocol.i]\ntimeout = \"1h\"\n",
        "no complaints",
    );
    check(
        "retry = \"0s\"\nretry-longest = \"7d\"\npoll = \"0m\"\n[sites.hub.protocol.i]\ntimeout = \"0s\"\n\
         [sites.hub.protocol.g]\ntimeout = \"99999999d\"\n",
        "bangpath.toml:7: sites.hub.retry: `0s` is not between 1s and 6d\n\
         bangpath.toml:8: sites.hub.retry-longest: `7d` is not between 1s and 6d\n\
         bangpath.toml:9: sites.hub.poll: `0m` is not between 1s and 365d\n\
         bangpath.toml:11: sites.hub.protocol.i: `0s` is not between 1s and 1h\n\
         bangpath.toml:13: sites.hub.protocol.g: `99999999d` is not between 1s and 1h",
    );
    let port = "[port.a]\ntype = \"pipe\"\ncommand = [\"x\"]\n";
    complain(
        &format!(
            "{port}[sites.hub]\ncall = [{{ port = \"a\", chat-program = [\"x\"], chat-program-limit = \"0s\" }}]\n"
        ),
        "bangpath.toml:10: sites.hub.call: `0s` is not between 1s and 1d",
    );
}

const MODEMS: &str = "[port.m1]\ntype = \"serial\"\ndevice = \"/dev/ttyS0\"\nmodem = \"hayes\"\n\
                      [port.m2]\ntype = \"serial\"\ndevice = \"/dev/ttyS1\"\nmodem = \"hayes\"\n";

#[test]
fn a_pool_has_ports_that_are_there_and_a_name_of_its_own() {
    let check = |pools: &str, expected: &str| complain(&format!("{MODEMS}{pools}"), expected);
    check("[pool.all]\nports = [\"m2\", \"m1\"]\n[pool.first]\nports = [\"m1\"]\n", "no complaints");
    check(
        "[pool.all]\nports = [\"m1\", \"m3\", \"m1\"]\n[pool.none]\nports = []\n[pool.m2]\nports = [\"all\"]\n",
        "bangpath.toml:15: pool.all: no port `m3`; did you mean `m1`?\n\
         bangpath.toml:15: pool.all: port `m1` stands there twice\n\
         bangpath.toml:17: pool.none: the pool is empty; write ports = [\"modem1\", \"modem2\"]\n\
         bangpath.toml:18: pool.m2: `m2` is a port and a pool; a `call` entry could mean either: give one another name\n\
         bangpath.toml:19: pool.m2: no port `all`; write a section [port.all]",
    );
    let sites =
        "[pool.modems]\nports = [\"m2\", \"m1\"]\n[sites.hub]\nlogin = \"U\"\npassword-file = \"secrets/hub\"\n";
    check(
        &format!("{sites}call = [{{ port = \"modms\", phone = \"1\" }}, {{ port = \"modems\" }}]\n"),
        "bangpath.toml:19: sites.hub.call: no port `modms`; did you mean `modems`?\n\
         bangpath.toml:19: sites.hub.call: a call by modem needs a number; write phone = \"5551234\"",
    );
    let config = load_text(&format!("{GOOD}{MODEMS}{sites}call = [{{ port = \"modems\", phone = \"1\" }}]\n"));
    let config = config.expect("no complaints");
    let ways: Vec<&str> = config.sites[0].ways.iter().map(|way| way.port.as_str()).collect();
    assert_eq!(ways, ["m2", "m1"], "in the order of the pool");
}

#[test]
fn chats_when_called_are_checked() {
    complain(
        "[port.a]\ntype = \"serial\"\ndevice = \"/dev/ttyS0\"\nanswer = true\nanswer-chat = 'ogin: \\L'\n[sites.hub]\ncalled-chat = 'a \\q'\n\
         [sites.far]\ncalled-chat = '\"\" \\P'\n",
        "bangpath.toml:10: port.a: nobody is known yet whose login `\\L` or `\\P` could say; leave them out: the login comes after this chat\n\
         bangpath.toml:12: sites.hub.called-chat: bad chat script at `\\q`: an unknown escape in what is sent\n\
         bangpath.toml:14: sites.far: the chat needs a login, and none is given; give login and password-file, or chat = \"\" where the site asks for none",
    );
}

#[test]
fn a_chat_program_has_a_name_and_escapes_that_are_known() {
    let port = "[port.a]\ntype = \"pipe\"\ncommand = [\"x\"]\n";
    let check = |program: &str, expected: &str| {
        complain(&format!("{port}[sites.hub]\ncall = [{{ port = \"a\", chat-program = {program} }}]\n"), expected);
    };
    check("['/bin/dial', '\\Y at \\S', '\\Z', '\\\\'], chat-program-limit = '5m'", "no complaints");
    let bad = "bangpath.toml:10: sites.hub.call: bad chat program: ";
    check("[]", &format!("{bad}the program has no name"));
    check("['dial', '\\T']", &format!("{bad}no escape `\\T`: there are \\Y \\S \\L \\P \\Z and \\\\"));
    check("['dial', 'a\\']", &format!("{bad}`a\\` ends in a backslash: write \\\\ for one"));
    check(
        "['dial', '\\P']",
        "bangpath.toml:10: sites.hub: the chat-program needs a login, and none is given; give login and password-file",
    );
    check(
        "['dial'], chat-program-limit = 'long'",
        "bangpath.toml:10: sites.hub.call: `long` is no duration: write 30s, 10m, 1h or 7d",
    );
}

#[test]
fn only_a_line_of_this_machine_is_shared_and_one_at_a_server_may_answer() {
    complain(
        "[port.a]\ntype = \"serial\"\ndevice = \"/dev/ttyS0\"\nshare = \"2217\"\n\
         [port.b]\ntype = \"serial\"\nserver = \"rack:2001\"\nanswer = true\nshare = \"127.0.0.1:2217\"\n",
        "bangpath.toml:9: port.a.share: `2217` is no address and port; write share = \"127.0.0.1:2217\"\n\
         bangpath.toml:14: port.b.share: only a serial line of this machine can be shared",
    );
}

#[test]
fn a_name_at_the_beginning_of_a_number_is_replaced() {
    let load = |codes: &str, phone: &str| {
        let site = format!("[sites.hub]\ncall = [{{ port = \"m1\", phone = \"{phone}\", chat = \"\" }}]\n");
        load_text(&format!("{GOOD}{MODEMS}{codes}{site}"))
    };
    let check = |codes: &str, phone: &str, expected: Result<&str, &str>| {
        let got = load(codes, phone).map(|config| match &config.sites[0].ways[0].kind {
            bangpath::call::PortKind::Serial { modem: Some(modem), .. } => modem.number.clone().unwrap_or_default(),
            other => panic!("{other:?}"),
        });
        let got = got.as_ref().map(String::as_str);
        let got = got.map_err(|told| told.split_once(": ").map_or(told.as_str(), |(_, what)| what));
        assert_eq!(got, expected, "{phone}");
    };
    let codes = "[dial-codes]\nnyc = \"9=1-212-\"\nhub = \"9,5551234\"\n";
    check(codes, "nyc5551234", Ok("9=1-212-5551234"));
    check(codes, "nyc-5551234", Ok("9=1-212--5551234"));
    check(codes, "hub", Ok("9,5551234"));
    check(codes, "5551234", Ok("5551234"));
    check(codes, "W5551234", Ok("W5551234"));
    check(codes, "hub.example:540", Ok("hub.example:540"));
    check("", "nyc5551234", Ok("nyc5551234"));
    check(codes, "nyx5551234", Err("sites.hub.call: no dial code `nyx`; did you mean `nyc`?"));
    check(codes, "london1", Err("sites.hub.call: no dial code `london`; write london = \"…\" in [dial-codes]"));
    let bad = "[dial-codes]\nn2 = \"1\"\nx = \"?\"\n";
    let told = load(bad, "1").expect_err("complaints");
    assert_eq!(
        told,
        "bangpath.toml:15: dial-codes.n2: `n2` is no name for a dial code; write letters only: they end where the rest of the number begins\n\
         bangpath.toml:16: dial-codes.x: `?` cannot be dialled: use digits, letters and *#,;@!&+.:/()-="
    );
}

#[test]
fn one_mistake_hides_no_other() {
    let text = GOOD.replace("\"village\"", "\"vil lage\"").replace("\"alice\"", "\"-\"");
    let got =
        load_text(&format!("{text}public = \"pub\"\n[port.x]\ntype = \"radio\"\nspeed = 0\n")).expect_err("complaints");
    let lines: Vec<&str> = got.lines().filter_map(|l| l.split(": ").nth(1)).collect();
    assert_eq!(lines, ["site.name", "site.postmaster", "site.public", "port.x", "port.x"], "{got}");
    let got = load_text(&GOOD.replace("postmaster = \"alice\"\n", "")).expect_err("a complaint");
    assert!(got.contains("missing field `postmaster`; write postmaster = "), "{got}");
}

#[test]
fn a_spool_that_is_no_folder_is_complained_of() {
    let got = load_text(&GOOD.replace("/tmp/x", "/dev/null")).expect_err("a complaint");
    assert_eq!(got, "bangpath.toml:4: site.spool: it is no folder; name a folder; it is made if it is not there");
}

#[test]
fn a_file_that_is_no_toml_or_not_there_is_said_so() {
    assert!(load_text("[site\n").expect_err("a complaint").starts_with("bangpath.toml:1:"));
    let missing = load(Path::new("/nonexistent/x.toml")).expect_err("a complaint").to_string();
    assert!(missing.contains("cannot read it") && missing.contains("-c FILE"), "{missing}");
}

#[test]
fn mail_for_a_site_goes_one_by_one_or_in_batches() {
    let check = |mail: &str, expected: &str| {
        let text = format!(
            "[site]\nname = \"village\"\ndomain = \"village.example\"\nspool = \"/tmp/x\"\npostmaster = \"alice\"\n\n[sites.hub]\n{mail}\n"
        );
        let told = match load_text(&text) {
            Ok(config) => format!("{:?}", config.mail.sites.values().next().expect("the hub").batch),
            Err(complaints) => complaints,
        };
        assert!(told.contains(expected), "{mail}: {told}");
    };
    check("", "None");
    check("mail = { format = \"rmail\", size = \"5K\" }", "None");
    check("mail = { format = \"rsmtp\" }", "Some(BatchForm { packing: Plain, size: 100000 })");
    check("mail = { format = \"rcsmtp\", size = \"5K\" }", "Some(BatchForm { packing: Compress, size: 5");
    check("mail = { format = \"rgsmtp\" }", "packing: Gzip");
    check("mail = { format = \"bsmtp\" }", "no mail format `bsmtp`: known are rmail, rsmtp, rcsmtp, rgsmtp");
    check("commands = [\"rsmtp\", \"zrsmtp\"]", "None");
    check("commands = [\"uucp\", \"/bin/cat\"]", "None");
    check("commands = [\"/usr/bin/rmail\"]", "`rmail` is built in");
    check("commands = [\"/none/such\"]", "there is no program /none/such");
    check("commands = [\"lp\"]", "a program has its path: /usr/bin/lp");
    check("commands = [\"rsmtpd\"]", "no command `rsmtpd`; built in are: rmail, rnews, rsmtp, bsmtp,");
}

#[test]
fn no_call_lasts_for_ever_unless_somebody_wants_that() {
    let longest = |more: &str| {
        let config = load_text(&format!("{GOOD}[sites.hub]\n{more}")).expect("a good configuration");
        config.sites[0].longest_call.as_secs() / 3600
    };
    assert_eq!([longest(""), longest("longest-call = '2h'\n"), longest("longest-call = '365d'\n")], [12, 2, 365 * 24]);
}
