//! Every protocol over the lines that it claims: what was sent arrives, both ways, exactly.

use std::time::Duration;

use bangpath::dialogue::Facts;
use bangpath::proto::{Parameters, Start};

use super::chance::Chance;
use super::courier::{Courier, Delivered, File};
use super::line::Quality;
use super::seeds;
use super::world::{Report, World};

pub type Exchanged = Report<Delivered, Delivered>;

/// One conversation between two of us.
pub fn exchange(letter: char, lines: [Quality; 2], seed: u64, files: [Vec<File>; 2]) -> Exchanged {
    let parameters = Parameters::default_for(letter);
    exchange_with([parameters.clone(), parameters], letter, lines, seed, files)
}

pub fn exchange_with(
    [caller, answerer]: [Parameters; 2],
    letter: char,
    lines: [Quality; 2],
    seed: u64,
    [forth, back]: [Vec<File>; 2],
) -> Exchanged {
    let side = |caller: bool, parameters: Parameters, files: Vec<File>| {
        let facts = Facts { speed: Some(lines[0].speed).filter(|&bps| bps > 0), ..Facts::serial("sim", 0) };
        Courier::new(letter, Start { caller, facts, parameters }, files)
    };
    let world = World::with_lines(side(true, caller, forth), side(false, answerer, back), lines, seed);
    world.run(Duration::from_secs(24 * 3600)).unwrap_or_else(|stuck| panic!("{letter}, seed {seed}: {stuck}"))
}

pub fn texts(chance: &mut Chance, sizes: &[usize]) -> Vec<File> {
    sizes.iter().enumerate().map(|(n, &size)| (format!("file{n}-{size}"), chance.text(size))).collect()
}

fn binaries(chance: &mut Chance, sizes: &[usize]) -> Vec<File> {
    sizes.iter().enumerate().map(|(n, &size)| (format!("file{n}-{size}"), chance.bytes(size))).collect()
}

fn sorted(files: &[File]) -> Vec<&File> {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort();
    sorted
}

/// Exchanges files over a line with these properties in both directions, and wants them there.
fn check(letter: char, quality: Quality, seed: u64) {
    check_lines(letter, [quality; 2], seed);
}

fn check_lines(letter: char, lines: [Quality; 2], seed: u64) {
    let mut chance = Chance::new(seed, 3);
    let forth = binaries(&mut chance, &[0, 1, 63, 64, 65, 4095, 4096, 4097, 20_000]);
    let back = texts(&mut chance, &[2000, 100, 31, 32, 33]);
    let report = exchange(letter, lines, seed, [forth.clone(), back.clone()]);
    let Report { caller, answerer, .. } = &report;
    assert!(caller.end.is_ok() && answerer.end.is_ok(), "{letter}, seed {seed}: {:?} {:?}", caller.end, answerer.end);
    assert!(
        sorted(&answerer.files) == sorted(&forth),
        "{letter}, seed {seed}: what came to the answerer is not what was sent"
    );
    assert!(
        sorted(&caller.files) == sorted(&back),
        "{letter}, seed {seed}: what came to the caller is not what was sent"
    );
    assert_eq!((caller.confirmed, answerer.confirmed), (forth.len(), back.len()), "{letter}, seed {seed}");
}

#[test]
fn t_is_exact_on_clean_lines() {
    for seed in seeds(3) {
        check('t', Quality::clean(9600), seed);
        check('t', Quality::clean(115_200).latency(300), seed);
        check('t', Quality::clean(0), seed);
    }
}

#[test]
fn g_is_exact_on_clean_lines() {
    for seed in seeds(3) {
        check('g', Quality::clean(9600), seed);
        check('g', Quality::clean(115_200).latency(300), seed);
        check('g', Quality::clean(0), seed);
    }
}

#[test]
fn g_survives_lost_bytes_bursts_and_noise() {
    for seed in seeds(5) {
        check('g', Quality::clean(9600).losses(3e-4), seed);
        check('g', Quality::clean(57_600).bursts(3e-5, 200), seed);
    }
}

#[test]
fn i_is_exact_on_clean_lines() {
    for seed in seeds(3) {
        check('i', Quality::clean(9600), seed);
        check('i', Quality::clean(115_200).latency(300), seed);
        check('i', Quality::clean(0), seed);
    }
}

#[test]
fn i_is_exact_whatever_the_line_does() {
    for seed in seeds(5) {
        check('i', Quality::clean(9600).losses(3e-4), seed);
        check('i', Quality::clean(57_600).bursts(3e-5, 200), seed);
        check('i', Quality::clean(9600).errors(3e-4), seed);
        check('i', Quality::clean(115_200).errors(1e-3), seed);
        check('i', Quality::clean(57_600).latency(300).errors(1e-3), seed);
    }
}
