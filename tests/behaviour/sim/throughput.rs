//! The golden table of throughput: what share of the line rate each protocol turns into file bytes.

use std::fmt::Write;
use std::path::Path;

use bangpath::dialogue::Facts;

use super::chance::Chance;
use super::line::Quality;
use super::protocols::{exchange_over, facts, texts};

/// The columns of the table.
const LETTERS: &str = "tgieyGvfja";

struct Row {
    name: &'static str,
    quality: Quality,
    /// Sizes of the files from the caller and from the answerer.
    forth: &'static [usize],
    back: &'static [usize],
    protocols: &'static str,
    /// Nothing is lost and nobody knows the speed.
    tcp: bool,
}

fn rows() -> Vec<Row> {
    let clean = Quality::clean;
    let row = |name, quality, forth, back, protocols| Row { name, quality, forth, back, protocols, tcp: false };
    vec![
        row("9600, two of 50 kB", clean(9600), &[50_000; 2], &[], "tgieyGvfja"),
        row("115200, two of 50 kB", clean(115_200), &[50_000; 2], &[], "tgieyGvfja"),
        row("9600, 20 kB each way", clean(9600), &[20_000], &[20_000], "tgieyGvfja"),
        row("57600, 300 ms, twenty of 2 kB", clean(57_600).latency(300), &[2000; 20], &[], "tgieyGvfja"),
        row("2400, two of 5 kB", clean(2400), &[5000; 2], &[], "tgieyGvfja"),
        row("2400, 1 s, five of 2 kB", clean(2400).latency(1000), &[2000; 5], &[], "tgieyGvfja"),
        row("2400 half duplex, 0.5 s, four of 2 kB", clean(2400).half_duplex(500), &[2000; 4], &[], "tgieyGvfja"),
        row("1200 half duplex, 2 s, 2 kB each way", clean(1200).half_duplex(2000), &[2000], &[2000], "tgieyGvfja"),
        row("33600, two of 50 kB", clean(33_600), &[50_000; 2], &[], "tgieyGvfja"),
        row("57600, 600 ms (satellite), two of 50 kB", clean(57_600).latency(600), &[50_000; 2], &[], "tgieyGvfja"),
        Row {
            tcp: true,
            ..row("TCP, 1 Mbit/s, 40 ms, two of 200 kB", clean(1_000_000).latency(40), &[200_000; 2], &[], "tgieyGvfja")
        },
        row("2400, errors 3e-4, two of 5 kB", clean(2400).errors(3e-4), &[5000; 2], &[], "giGvja"),
        row("9600, seven bits, two of 20 kB", clean(9600).seven_bits(), &[20_000; 2], &[], "f"),
        row("9600, XON and XOFF eaten, two of 20 kB", clean(9600).eats_flow_control(), &[20_000; 2], &[], "fja"),
        row("57600, errors 3e-4, two of 30 kB", clean(57_600).errors(3e-4), &[30_000; 2], &[], "giGvja"),
        row("57600, errors 1e-3, two of 30 kB", clean(57_600).errors(1e-3), &[30_000; 2], &[], "ija"),
        row("57600, bursts, two of 30 kB", clean(57_600).bursts(1e-4, 100), &[30_000; 2], &[], "giGvja"),
        row(
            "57600, 100 ms, errors 3e-4, two of 30 kB",
            clean(57_600).latency(100).errors(3e-4),
            &[30_000; 2],
            &[],
            "giGvja",
        ),
        row(
            "57600, 300 ms, errors 3e-4, two of 30 kB",
            clean(57_600).latency(300).errors(3e-4),
            &[30_000; 2],
            &[],
            "giGvja",
        ),
    ]
}

/// File bytes carried, as a share of what one direction of the line can carry in that time.
fn share(row: &Row, letter: char, seed: u64) -> f64 {
    let mut chance = Chance::new(seed, 4);
    let files = [texts(&mut chance, row.forth), texts(&mut chance, row.back)];
    let bytes: usize = files.iter().flatten().map(|(_, content)| content.len()).sum();
    let there_and_back = (row.quality.latency + row.quality.turn_round.unwrap_or_default()) * 2;
    let link = if row.tcp { Facts::stream("tcp") } else { facts(row.quality) };
    let facts = Facts { round_trip: Some(there_and_back), peer_is_ours: true, ..link };
    let report = exchange_over(&facts, letter, [row.quality; 2], seed, files);
    assert!(report.caller.end.is_ok(), "{}, {letter}, seed {seed}: {:?}", row.name, report.caller.end);
    bytes as f64 * 10.0 / f64::from(row.quality.speed) / report.elapsed.as_secs_f64()
}

#[test]
fn the_table_is_as_expected() {
    let mut table = String::from("Share of the line rate that arrives as files, in percent (mean of five seeds)\n\n");
    write!(table, "{:44}", "bit/s, files").expect("a string takes all");
    for letter in LETTERS.chars() {
        write!(table, " {letter:>5}").expect("a string takes all");
    }
    table.push('\n');
    for row in rows() {
        write!(table, "{:44}", row.name).expect("a string takes all");
        for letter in LETTERS.chars() {
            let cell = if row.protocols.contains(letter) {
                let mean = (1..=5).map(|seed| share(&row, letter, seed)).sum::<f64>() / 5.0;
                format!("{:.0}", mean * 100.0)
            } else {
                "-".to_owned()
            };
            write!(table, " {cell:>5}").expect("a string takes all");
        }
        table.push('\n');
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/throughput.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&golden, &table).expect("the golden table can be written");
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(table, expected, "UPDATE_EXPECT=1 rewrites {}", golden.display());
}
