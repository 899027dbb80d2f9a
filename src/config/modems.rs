//! The modem profiles: those of `hardware/modems`, compiled in, and a user's own.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::units::nearest;
use crate::session::dial::Profile;

/// The profiles that the program ships with, by file name.
static SHIPPED: &[(&str, &str)] = &[
    ("ch340", include_str!("../../hardware/modems/ch340.toml")),
    ("conexant", include_str!("../../hardware/modems/conexant.toml")),
    ("ftdi", include_str!("../../hardware/modems/ftdi.toml")),
    ("hayes", include_str!("../../hardware/modems/hayes.toml")),
    ("hayes-optima", include_str!("../../hardware/modems/hayes-optima.toml")),
    ("mgetty", include_str!("../../hardware/modems/mgetty.toml")),
    ("microcom", include_str!("../../hardware/modems/microcom.toml")),
    ("multitech", include_str!("../../hardware/modems/multitech.toml")),
    ("null-modem", include_str!("../../hardware/modems/null-modem.toml")),
    ("pl2303", include_str!("../../hardware/modems/pl2303.toml")),
    ("rockwell", include_str!("../../hardware/modems/rockwell.toml")),
    ("supra", include_str!("../../hardware/modems/supra.toml")),
    ("tcpser", include_str!("../../hardware/modems/tcpser.toml")),
    ("telebit-t3000", include_str!("../../hardware/modems/telebit-t3000.toml")),
    ("telebit-trailblazer", include_str!("../../hardware/modems/telebit-trailblazer.toml")),
    ("usr-courier", include_str!("../../hardware/modems/usr-courier.toml")),
    ("usr-sportster", include_str!("../../hardware/modems/usr-sportster.toml")),
    ("vgetty", include_str!("../../hardware/modems/vgetty.toml")),
    ("wifi232", include_str!("../../hardware/modems/wifi232.toml")),
    ("zimodem", include_str!("../../hardware/modems/zimodem.toml")),
    ("zyxel-u1496", include_str!("../../hardware/modems/zyxel-u1496.toml")),
];

/// A profile as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: String,
    /// The document that the commands are from.
    manual: String,
    /// What it was tried with: `not on hardware`, or the program or machine.
    tried: String,
    #[serde(default, rename = "note")]
    _note: String,
    /// A plain line: nothing is dialled.
    #[serde(default)]
    direct: bool,
    #[serde(default)]
    init: Vec<String>,
    #[serde(default = "dial")]
    dial: String,
    #[serde(default)]
    dial_end: String,
    #[serde(default = "pause")]
    dial_tone: String,
    #[serde(default = "pause")]
    pause: String,
    #[serde(default = "connect_timeout_s")]
    connect_timeout_s: u16,
    #[serde(default = "fail")]
    fail: Vec<String>,
    #[serde(default = "answer")]
    answer: String,
    #[serde(default = "guard_ms")]
    guard_ms: u16,
    #[serde(default = "escape")]
    escape: String,
    #[serde(default = "hang_up")]
    hang_up: String,
    #[serde(default)]
    corrected: Vec<String>,
    #[serde(default = "yes")]
    fixed_speed: bool,
    #[serde(default = "yes")]
    carrier: bool,
}

// What nearly all of Hayes' descendants share.
fn dial() -> String {
    "ATDT".to_owned()
}

// Early modems do not know `W`.
fn pause() -> String {
    ",".to_owned()
}

fn connect_timeout_s() -> u16 {
    60
}

fn fail() -> Vec<String> {
    ["BUSY", "NO CARRIER", "NO DIALTONE", "NO DIAL TONE", "NO ANSWER", "ERROR", "VOICE", "DELAYED", "BLACKLISTED"]
        .map(str::to_owned)
        .into()
}

fn answer() -> String {
    "ATA".to_owned()
}

fn guard_ms() -> u16 {
    1200
}

fn escape() -> String {
    "+++".to_owned()
}

fn hang_up() -> String {
    "ATH".to_owned()
}

fn yes() -> bool {
    true
}

/// The profile of this name, `None` if it is that of a plain line; a name with a slash or a dot is a file, relative to the configuration's folder.
pub fn find(name: &str, folder: &Path) -> Result<Option<Profile>, String> {
    if name.contains(['/', '.']) {
        let path = folder.join(name);
        let text = super::read_text(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        return parse(&text).map_err(|why| format!("{}: {why}", path.display()));
    }
    let names = || SHIPPED.iter().map(|(name, _)| *name);
    let Some((_, text)) = SHIPPED.iter().find(|(known, _)| *known == name) else {
        return Err(match nearest(name, names()) {
            Some(word) => format!("no modem `{name}`; did you mean `{word}`?"),
            None => format!("no modem `{name}`; known: {}; or name a file", names().collect::<Vec<_>>().join(", ")),
        });
    };
    parse(text)
}

fn parse(text: &str) -> Result<Option<Profile>, String> {
    let written: Written = toml::from_str(text).map_err(|error| error.to_string().trim().replace('\n', " "))?;
    let dialling = [&written.dial, &written.dial_end, &written.dial_tone, &written.pause];
    let commands =
        [&written.answer, &written.escape, &written.hang_up].into_iter().chain(dialling).chain(&written.init);
    if let Some(bad) = commands.into_iter().find(|c| c.chars().any(char::is_control)) {
        return Err(format!("`{}` has a control character; the carriage return is added", bad.escape_debug()));
    }
    if written.manual.is_empty() || written.tried.is_empty() {
        return Err("it names no manual, or not what it was tried with".to_owned());
    }
    if written.direct {
        return Ok(None);
    }
    if written.init.is_empty() {
        return Err("it has no `init` commands, and is not `direct`".to_owned());
    }
    Ok(Some(Profile {
        name: written.name,
        init: written.init,
        dial: written.dial,
        dial_end: written.dial_end,
        dial_tone: written.dial_tone,
        pause: written.pause,
        connect_timeout: Duration::from_secs(written.connect_timeout_s.into()),
        fail: written.fail,
        answer: written.answer,
        guard: Duration::from_millis(written.guard_ms.into()),
        escape: written.escape,
        hang_up: written.hang_up,
        corrected: written.corrected,
        fixed_speed: written.fixed_speed,
        carrier: written.carrier,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_that_lies_there_is_shipped_and_can_be_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("hardware/modems");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the profiles")
            .map(|entry| entry.expect("a file").file_name().to_string_lossy().trim_end_matches(".toml").to_owned())
            .collect();
        files.sort();
        assert_eq!(files, SHIPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, text) in SHIPPED {
            let profile = parse(text).unwrap_or_else(|why| panic!("{name}: {why}"));
            let Some(profile) = profile else { continue };
            // Early modems have room for 40 characters.
            assert!(profile.init.iter().all(|c| c.starts_with("AT") && c.len() <= 42), "{name}: {:?}", profile.init);
        }
    }

    #[test]
    fn a_wrong_name_or_file_is_explained() {
        let here = Path::new("/nowhere");
        assert_eq!(find("haye", here).unwrap_err(), "no modem `haye`; did you mean `hayes`?");
        assert!(find("my.toml", here).unwrap_err().starts_with("cannot read /nowhere/my.toml: "));
        let control = "name = \"x\"\nmanual = \"m\"\ntried = \"no\"\ninit = [\"ATZ\\r\"]\n";
        assert_eq!(parse(control).unwrap_err(), "`ATZ\\r` has a control character; the carriage return is added");
    }
}
