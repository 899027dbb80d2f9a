//! Throughput of calls: two of us, and two of Taylor's, on the same simulated line.

use std::fs;
use std::time::Instant;

use super::ours::{Ours, noise};
use super::taylor::Taylor;
use super::{Row, median};

struct Case {
    protocol: &'static str,
    speed: u32,
    latency: u32,
    noise: f64,
    files: usize,
    size: usize,
    runs: usize,
}

const CASES: [Case; 7] = [
    Case { protocol: "g", speed: 9600, latency: 0, noise: 0.0, files: 2, size: 8_000, runs: 3 },
    Case { protocol: "i", speed: 9600, latency: 0, noise: 0.0, files: 2, size: 8_000, runs: 3 },
    Case { protocol: "g", speed: 115_200, latency: 0, noise: 0.0, files: 2, size: 50_000, runs: 3 },
    Case { protocol: "i", speed: 115_200, latency: 0, noise: 0.0, files: 2, size: 50_000, runs: 3 },
    Case { protocol: "g", speed: 57_600, latency: 300, noise: 0.0, files: 20, size: 2_000, runs: 1 },
    Case { protocol: "i", speed: 57_600, latency: 300, noise: 0.0, files: 20, size: 2_000, runs: 3 },
    Case { protocol: "i", speed: 57_600, latency: 0, noise: 3e-4, files: 2, size: 30_000, runs: 5 },
];

/// The other letters: a clean line, and one with latency. Two Taylors fail at the second file of a call with f.
pub fn letters() -> Vec<Row> {
    let clean = |protocol| Case { protocol, speed: 115_200, latency: 0, noise: 0.0, files: 2, size: 50_000, runs: 1 };
    let far = |protocol| Case { protocol, speed: 57_600, latency: 300, noise: 0.0, files: 8, size: 2_000, runs: 1 };
    let alone = Case { files: 1, ..clean("f") };
    let cases = ["t", "e", "y", "G", "v", "j", "a"].map(clean).into_iter().chain([alone]);
    cases.chain(["t", "e", "y", "v", "j", "a"].map(far)).map(|case| row(&case)).collect()
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
    let noise = if case.noise > 0.0 { format!(", byte errors {:.0e}", case.noise) } else { String::new() };
    let latency = if case.latency > 0 { format!(", {} ms", case.latency) } else { String::new() };
    let what = format!(
        "{} at {} bit/s{latency}{noise}: {} files of {} bytes",
        case.protocol, case.speed, case.files, case.size
    );
    eprintln!("{what}: ours {ours:.0?}, Taylor {theirs:.0?} bytes/s");
    let theirs = (!theirs.is_empty()).then(|| median(theirs));
    Row { what, unit: "bytes/s", ours: median(ours), theirs, wanted: 1.0 }
}

/// This program as the line to another.
fn line(case: &Case, run: usize, argv: &[String]) -> Vec<String> {
    let own = std::env::current_exe().expect("our name").display().to_string();
    let mut words = vec![own, "line".to_owned(), case.speed.to_string(), case.latency.to_string()];
    words.extend([case.noise.to_string(), (run * 10 + 1).to_string()]);
    words.extend(argv.iter().cloned());
    words
}

/// Bytes of files in a second of the call.
fn rate(case: &Case, begun: Instant) -> f64 {
    (case.files * case.size) as f64 / begun.elapsed().as_secs_f64()
}

fn by_us(case: &Case, run: usize) -> f64 {
    let hub = Ours::new("hub", "[sites.village]\n");
    let village = Ours::new("village", "");
    let argv = line(case, run, &hub.uucico());
    let reliable = case.noise == 0.0;
    village.configure(&format!(
        "[port.out]\ntype = \"pipe\"\ncommand = {argv:?}\nreliable = {reliable}\n\n[sites.hub]\ncall = [{{ port = \"out\" }}]\nprotocols = \"{}\"\n",
        case.protocol
    ));
    for n in 0..case.files {
        let file = village.folder.path().join(format!("file{n}"));
        fs::write(&file, noise(n as u64 + 1, case.size)).expect("a file");
        village.run(&["uucp", &file.display().to_string(), "hub!~/"], b"");
    }
    let begun = Instant::now();
    // Noise may spoil a handshake, which has no checksum: then both programs call again.
    while !village.call("hub").status.success() {}
    let rate = rate(case, begun);
    for n in 0..case.files {
        super::ours::assert_same(&hub.public().join(format!("file{n}")), &noise(n as u64 + 1, case.size));
    }
    rate
}

fn by_taylor(case: &Case, run: usize) -> Option<f64> {
    let protocol = format!("protocol {}", case.protocol);
    let hub = Taylor::new("hub", "village", "type stdin", &protocol)?;
    let argv = line(case, run, &hub.uucico());
    let port = format!("type pipe\ncommand {}", argv.join(" "));
    let village = Taylor::new("village", "hub", &port, &protocol)?;
    for n in 0..case.files {
        let file = village.path(&format!("file{n}"));
        fs::write(&file, noise(n as u64 + 1, case.size)).expect("a file");
        village.uucp(&[&file.display().to_string(), "hub!~/"]);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        village.call("hub");
        if (0..case.files).all(|n| hub.path(&format!("pub/file{n}")).exists()) {
            return Some(rate(case, begun));
        }
        // It waits before it calls a site again that it failed to reach.
        let _ = fs::remove_dir_all(village.path("spool/.Status"));
    }
    None
}
