//! `make bench`: the same work by us and by the peer, alternately, over the same line in the same run; medians and their ratio.

#[allow(dead_code, reason = "the interop tests use the rest")]
#[path = "../interop/ours.rs"]
mod ours;
#[allow(dead_code, reason = "the interop tests use the rest")]
#[path = "../interop/peers.rs"]
mod peers;
#[allow(dead_code, reason = "the interop tests use the rest")]
#[path = "../interop/taylor.rs"]
mod taylor;

mod line;
mod servers;
mod uucp;

/// One row: what was done, our figure and the peer's (more is better), and what the ratio should reach.
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub ours: f64,
    pub theirs: Option<f64>,
    pub wanted: f64,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|w| w == "line") {
        line::run(&words[1..]);
        return;
    }
    if words.first().is_some_and(|w| w == line::CARRIER) {
        line::run_carrier(&words[1..]);
        return;
    }
    let only: Option<&String> = words.iter().find(|w| !w.starts_with("--"));
    let mut rows = Vec::new();
    if only.is_none_or(|o| o == "uucp") {
        rows.extend(uucp::rows());
    }
    if only.is_none_or(|o| o == "letters") {
        rows.extend(uucp::letters());
    }
    if only.is_none_or(|o| o == "half-duplex") {
        rows.extend(uucp::half_duplex());
    }
    if only.is_none_or(|o| o == "servers") {
        rows.extend(servers::rows());
    }
    println!("{:<58} {:>12} {:>12} {:>7} {:>7}", "", "ours", "peer", "ratio", "wanted");
    for row in rows {
        let (theirs, ratio) = match row.theirs {
            Some(theirs) => (format!("{theirs:.1}"), format!("{:.2}", row.ours / theirs)),
            None => ("missing".to_owned(), "-".to_owned()),
        };
        println!("{:<58} {:>12.1} {theirs:>12} {ratio:>7} {:>7.1}  {}", row.what, row.ours, row.wanted, row.unit);
    }
}

/// The middle one of several figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
