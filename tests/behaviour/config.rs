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
        "[[mail.route]]\nto = \"*\"\nvia = \"uucp:hbu\"\n[sites.hub]\n",
        "bangpath.toml:8: mail.route.via: no site `hbu`; did you mean `hub`?",
    );
    complain(
        "[port.net]\ntype = \"tcp\"\n[sites.hub]\ncall = [{ port = \"net\", address = \"hub\" }]\n",
        "bangpath.toml:9: sites.hub: the login chat needs a login, and none is given; give login and password-file, or chat = \"\" where the site asks for none",
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
