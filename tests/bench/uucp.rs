//! Throughput of calls: two of us, and two of Taylor's, on the same simulated line.

use std::fs;
use std::time::SystemTime;

use super::line::{Nature, Notes};
use super::ours::{Ours, noise};
use super::taylor::Taylor;
use super::{Row, median};

/// Calls that either program may need.
const CALLS_MAX: u32 = 20;

struct Case {
    protocol: &'static str,
    line: Nature,
    files: usize,
    size: usize,
    runs: usize,
}

impl Case {
    /// What our figure should be of Taylor's: on a noisy line packets sized by the measured errors are worth something.
    fn wanted(&self) -> f64 {
        if self.line.noise > 0.0 { 1.3 } else { 1.0 }
    }
}

const fn clean(speed: u32) -> Nature {
    Nature { speed, latency_ms: 0, noise: 0.0, turn_round_ms: 0 }
}

const fn far() -> Nature {
    Nature { latency_ms: 300, ..clean(57_600) }
}

const CASES: [Case; 7] = [
    Case { protocol: "g", line: clean(9600), files: 2, size: 8_000, runs: 3 },
    Case { protocol: "i", line: clean(9600), files: 2, size: 8_000, runs: 3 },
    Case { protocol: "g", line: clean(115_200), files: 2, size: 50_000, runs: 3 },
    Case { protocol: "i", line: clean(115_200), files: 2, size: 50_000, runs: 3 },
    Case { protocol: "g", line: far(), files: 20, size: 2_000, runs: 1 },
    Case { protocol: "i", line: far(), files: 20, size: 2_000, runs: 3 },
    Case { protocol: "i", line: Nature { noise: 3e-4, ..clean(57_600) }, files: 2, size: 30_000, runs: 9 },
];

/// The other letters: a clean line, and one with latency. Two Taylors fail at the second file of a call with f.
pub fn letters() -> Vec<Row> {
    let near = |protocol| Case { protocol, line: clean(115_200), files: 2, size: 50_000, runs: 3 };
    let distant = |protocol| Case { protocol, line: far(), files: 8, size: 2_000, runs: 3 };
    let alone = |case| Case { files: 1, ..case };
    let near = ["t", "e", "y", "G", "v", "j", "a"].map(near).into_iter().chain([alone(near("f"))]);
    let distant = ["t", "e", "y", "G", "v", "j", "a"].map(distant).into_iter().chain([alone(distant("f"))]);
    near.chain(distant).map(|case| row(&case)).collect()
}

/// One direction at a time, as over a radio: both programs are told.
pub fn half_duplex() -> Vec<Row> {
    let line = Nature { turn_round_ms: 500, ..clean(2400) };
    let case = |protocol| Case { protocol, line, files: 4, size: 2_000, runs: 1 };
    let alone = Case { files: 1, ..case("f") };
    ["i", "e", "g", "y", "t", "G", "v", "j", "a"].map(case).iter().chain([&alone]).map(row).collect()
}

pub fn rows() -> Vec<Row> {
    CASES.iter().map(row).collect()
}

fn row(case: &Case) -> Row {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..case.runs {
        // In turn, so that a machine that slows down slows both.
        ours.push(by_us(case, run));
        theirs.extend(by_taylor(case, run));
    }
    let Nature { speed, latency_ms, noise, turn_round_ms } = case.line;
    let noise = if noise > 0.0 { format!(", byte errors {noise:.0e}") } else { String::new() };
    let latency = if latency_ms > 0 { format!(", {latency_ms} ms") } else { String::new() };
    let duplex = if turn_round_ms > 0 { format!(" half duplex, {turn_round_ms} ms") } else { String::new() };
    let what = format!(
        "{} at {speed} bit/s{duplex}{latency}{noise}: {} files of {} bytes",
        case.protocol, case.files, case.size
    );
    eprintln!("{what}: ours {ours:.0?}, Taylor {theirs:.0?} bytes/s");
    let theirs = (!theirs.is_empty()).then(|| median(theirs));
    Row { what, unit: "bytes/s", ours: median(ours), theirs, wanted: case.wanted() }
}

/// This program as the line to another.
fn line(case: &Case, run: usize, notes: &Notes, argv: &[String]) -> Vec<String> {
    let mut words = case.line.words(run * 10 + 1, notes);
    words.extend(argv.iter().cloned());
    words
}

fn is_half_duplex(case: &Case) -> bool {
    case.line.turn_round_ms > 0
}

/// Bytes of files in a second, from when the caller was started until it has let the line go, and that is silent. It has just ended.
fn rate(case: &Case, begun: SystemTime, notes: &Notes) -> f64 {
    let ended = SystemTime::now();
    let taken = ended.max(notes.silent_since()).duration_since(begun).expect("the call took some time");
    (case.files * case.size) as f64 / taken.as_secs_f64()
}

fn by_us(case: &Case, run: usize) -> f64 {
    let half_duplex =
        if is_half_duplex(case) { format!("half-duplex = true\nspeed = {}\n", case.line.speed) } else { String::new() };
    let notes = Notes::new();
    let line_port = format!("[port.line]\ntype = \"pipe\"\ncommand = [\"true\"]\n{half_duplex}\n");
    let protocol = case.protocol;
    let site = format!("[sites.village]\ncall = [{{ port = \"line\" }}]\nprotocols = \"{protocol}\"\n");
    let hub = Ours::new("hub", &format!("{line_port}{site}"));
    let village = Ours::new("village", "");
    let mut answering = hub.uucico();
    if is_half_duplex(case) {
        answering.extend(["-p", "line"].map(str::to_owned));
    }
    let argv = line(case, run, &notes, &answering);
    let reliable = case.line.noise == 0.0;
    village.configure(&format!(
        "[port.out]\ntype = \"pipe\"\ncommand = {argv:?}\nreliable = {reliable}\n{half_duplex}\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nprotocols = \"{protocol}\"\n"
    ));
    for n in 0..case.files {
        let file = village.folder.path().join(format!("file{n}"));
        fs::write(&file, noise(n as u64 + 1, case.size)).expect("a file");
        village.run(&["uucp", &file.display().to_string(), "hub!~/"], b"");
    }
    let begun = SystemTime::now();
    // Noise may spoil a handshake, which has no checksum: then both programs call again.
    let reached = (0..CALLS_MAX).any(|_| village.call("hub").status.success());
    assert!(reached, "{protocol}: {CALLS_MAX} calls failed");
    let rate = rate(case, begun, &notes);
    for n in 0..case.files {
        super::ours::assert_same(&hub.public().join(format!("file{n}")), &noise(n as u64 + 1, case.size));
    }
    rate
}

fn by_taylor(case: &Case, run: usize) -> Option<f64> {
    let notes = Notes::new();
    let protocol = format!("protocol {}", case.protocol);
    let half_duplex = if is_half_duplex(case) { "\nhalf-duplex true" } else { "" };
    let hub = Taylor::new("hub", "village", &format!("type stdin{half_duplex}"), &protocol)?;
    let mut answering = hub.uucico();
    if is_half_duplex(case) {
        answering.extend(["-p", "out"].map(str::to_owned));
    }
    let argv = line(case, run, &notes, &answering);
    let port = format!("type pipe\ncommand {}{half_duplex}", argv.join(" "));
    let village = Taylor::new("village", "hub", &port, &protocol)?;
    for n in 0..case.files {
        let file = village.path(&format!("file{n}"));
        fs::write(&file, noise(n as u64 + 1, case.size)).expect("a file");
        village.uucp(&[&file.display().to_string(), "hub!~/"]);
    }
    let begun = SystemTime::now();
    for _ in 0..CALLS_MAX {
        village.call("hub");
        if (0..case.files).all(|n| hub.path(&format!("pub/file{n}")).exists()) {
            return Some(rate(case, begun, &notes));
        }
        // It waits before it calls a site again that it failed to reach.
        let _ = fs::remove_dir_all(village.path("spool/.Status"));
    }
    None
}
