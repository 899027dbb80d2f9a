//! The receiving side of raw bytes: when they came, and what became of each on the way.

use std::time::Duration;

use crate::base::limits::LINE_TEST_RAW_MAX;
use crate::base::time::Instant;
use crate::wire::line_test::{COPIES, Frame, FrameReader, Heard, Sample, Side, Word};

/// Of the values that differ in their highest bit alone: more are no chance.
const TOP_BIT_MIN: usize = 24;
/// How far what arrives may lie beside what was sent, beyond what it is shorter or longer.
const BAND: usize = 24;
/// Of what comes too much, more is not looked at.
const ADDED_MAX: usize = 256;
/// Into so many stretches what came is cut to tell its speed, and so many of them are needed.
const STRETCHES: usize = 4;
const STRETCHES_MIN: usize = 3;
/// A stretch at less than this share of the next one's rate has a part of a pause in it.
const ALIKE: f64 = 0.85;

/// What a dialogue makes of the bytes that come.
#[derive(Debug)]
pub(super) struct Listener {
    reader: FrameReader,
    /// Whose raw bytes are heard. Of the other side's frames nothing is taken: they are an echo.
    pub side: Side,
    raw: Option<Raw>,
    /// Found with all values.
    top_bit_lost: bool,
}

/// Raw bytes that have begun.
#[derive(Debug)]
struct Raw {
    turn: u16,
    sample: Sample,
    /// When something came, and how many bytes had come by then.
    marks: Vec<(Instant, usize)>,
}

/// A frame of either side, or what came of raw bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    Frame(Frame),
    /// In this turn raw bytes were heard, or only their end.
    Raw {
        turn: u16,
        heard: Option<(Sample, Heard)>,
    },
}

impl Listener {
    pub fn new(side: Side) -> Self {
        Self { reader: FrameReader::default(), side, raw: None, top_bit_lost: false }
    }

    pub fn push(&mut self, now: Instant, byte: u8) -> Option<Event> {
        if let Some(raw) = &mut self.raw {
            raw.count(now);
        }
        let (frame, bytes) = self.reader.push(byte)?;
        if frame.side != self.side {
            return Some(Event::Frame(frame));
        }
        match frame.word {
            Word::Raw(sample) => {
                self.raw = Some(Raw { turn: frame.turn, sample, marks: vec![(now, 0)] });
                None
            }
            Word::End => {
                let raw = self.raw.take().filter(|raw| raw.turn == frame.turn);
                let heard = raw.map(|raw| (raw.sample, raw.describe(&bytes, self.top_bit_lost)));
                if let Some((Sample::All, heard)) = &heard {
                    self.top_bit_lost = heard.top_bit_lost;
                }
                Some(Event::Raw { turn: frame.turn, heard })
            }
            Word::Hello(_) | Word::Give(_) | Word::Heard(_) | Word::Missed | Word::Facts { .. } | Word::Known => {
                Some(Event::Frame(frame))
            }
        }
    }
}

impl Raw {
    fn count(&mut self, now: Instant) {
        let count = self.marks.last().map_or(0, |(_, count)| *count) + 1;
        match self.marks.last_mut().filter(|(at, _)| *at == now || count > LINE_TEST_RAW_MAX) {
            Some(last) => *last = (now, count),
            None => self.marks.push((now, count)),
        }
    }

    fn describe(&self, received: &[u8], top_bit_lost: bool) -> Heard {
        let sent = self.sample.bytes();
        let fates = align(&sent, received);
        // The last byte only lets go whom the others have stopped.
        let pairs: Vec<(u8, Fate)> = sent.iter().copied().zip(fates).take(sent.len() - 1).collect();
        let mut heard = judge(&self.sample, &pairs, top_bit_lost);
        // What was lost took its time, too.
        let came: Vec<usize> =
            pairs.iter().enumerate().filter(|(_, (_, fate))| *fate != Fate::Lost).map(|(n, _)| n + 1).collect();
        let sent_by = |count: usize| match count.checked_sub(came.len() + 1) {
            Some(behind) => sent.len() + behind,
            None => count.checked_sub(1).map_or(0, |last| came.get(last).copied().unwrap_or(sent.len())),
        };
        let marks: Vec<(Instant, usize)> = self.marks.iter().map(|(at, count)| (*at, sent_by(*count))).collect();
        let (bytes, time) = pace(&marks);
        heard.timed = bytes as u32;
        heard.micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        heard
    }
}

/// So many bytes in so much time, the slowest and the quickest stretch apart: a machine that pauses once makes one
/// stretch slow, or two where the pause lies across their border, and what it has kept waiting the next one quick.
fn pace(marks: &[(Instant, usize)]) -> (usize, Duration) {
    let (Some(first), Some(last)) = (marks.first(), marks.last()) else { return (0, Duration::ZERO) };
    let mut stretches: Vec<(usize, Duration)> = Vec::new();
    let mut from = *first;
    for n in 1..=STRETCHES {
        let end = first.1 + (last.1 - first.1) * n / STRETCHES;
        let to = marks.iter().copied().find(|(_, sent)| *sent >= end).unwrap_or(*last);
        if to.1 > from.1 {
            stretches.push((to.1 - from.1, to.0.since(from.0)));
            from = to;
        }
    }
    if stretches.len() < STRETCHES_MIN {
        return (0, Duration::ZERO);
    }
    let rate = |(bytes, time): &(usize, Duration)| *bytes as f64 / time.as_secs_f64();
    stretches.sort_by(|one, other| rate(one).total_cmp(&rate(other)));
    let usual = &stretches[1..stretches.len() - 1];
    let least = usual.last().map_or(0.0, rate) * ALIKE;
    let usual = usual.iter().filter(|stretch| rate(stretch) >= least);
    usual.fold((0, Duration::ZERO), |sum, (bytes, time)| (sum.0 + bytes, sum.1 + *time))
}

/// How fast bytes came, in bits per second, ten a byte. None of what came too quickly: kernels and chips hand over bytes
/// some at a time.
pub(super) fn speed(heard: &Heard) -> Option<u32> {
    const MEASURED_MIN: Duration = Duration::from_millis(50);
    let time = Duration::from_micros(u64::from(heard.micros));
    let bits = f64::from(heard.timed) * 10.0;
    (time >= MEASURED_MIN && heard.timed > 0).then(|| (bits / time.as_secs_f64()) as u32)
}

fn judge(sample: &Sample, pairs: &[(u8, Fate)], top_bit_lost: bool) -> Heard {
    let by_top_bit = |(value, fate): &(u8, Fate)| matches!(fate, Fate::Changed(to) if value ^ to == 0x80);
    let top_bit_lost = match sample {
        Sample::All => pairs.iter().filter(|pair| by_top_bit(pair)).count() >= TOP_BIT_MIN,
        Sample::Again(_) | Sample::Text(_) => top_bit_lost,
    };
    let is_damaged = |pair: &(u8, Fate)| pair.1 != Fate::Same && !(top_bit_lost && by_top_bit(pair));
    let mut heard = Heard { looked_at: pairs.len() as u32, ..Heard::default() };
    match sample {
        Sample::All => {
            heard.top_bit_lost = top_bit_lost;
            for (value, fate) in pairs.iter().filter(|pair| is_damaged(pair)) {
                let set = if *fate == Fate::Lost { &mut heard.lost } else { &mut heard.changed };
                set.insert(*value);
            }
            // Which of them are damaged by chance is not known yet.
            heard.looked_at -= heard.doubtful().len() as u32;
        }
        Sample::Again(values) => {
            for value in values.iter() {
                // Letters among the values stand between the others as well; more copies only tell more.
                let copies: Vec<&(u8, Fate)> = pairs.iter().filter(|(sent, _)| *sent == value).collect();
                let lost = copies.iter().filter(|(_, fate)| *fate == Fate::Lost).count();
                let damaged = copies.iter().filter(|pair| is_damaged(pair)).count();
                if damaged < copies.len() {
                    heard.damaged += damaged as u32;
                } else {
                    let set = if lost * 2 > COPIES { &mut heard.lost } else { &mut heard.changed };
                    set.insert(value);
                    heard.looked_at -= copies.len() as u32;
                }
            }
            let others = pairs.iter().filter(|(value, _)| !values.contains(*value));
            heard.damaged += others.filter(|pair| is_damaged(pair)).count() as u32;
        }
        Sample::Text(_) => heard.damaged = pairs.iter().filter(|pair| is_damaged(pair)).count() as u32,
    }
    heard
}

/// What became of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Same,
    Changed(u8),
    Lost,
}

/// The cheapest explanation of what was received, within a band around the diagonal.
fn align(sent: &[u8], received: &[u8]) -> Vec<Fate> {
    const LOST: u32 = 2;
    const ADDED: u32 = 2;
    const FAR: u32 = u32::MAX / 2;
    let change = |from: u8, to: u8| match from ^ to {
        0 => 0,
        0x80 => 1,
        _ => 3,
    };
    // What came far too much of is noise.
    let received = &received[..received.len().min(sent.len() + ADDED_MAX)];
    // All values above 7f may be missing.
    let band = BAND + sent.len().abs_diff(received.len()).min(ADDED_MAX);
    let (rows, width) = (sent.len(), 2 * band + 1);
    // cost[row][column + band - row]: so many of those sent explain so many of those received.
    let mut cost = vec![FAR; (rows + 1) * width];
    let at = |row: usize, column: usize| {
        let place = (column + band).checked_sub(row).filter(|place| *place < width)?;
        Some(row * width + place)
    };
    for row in 0..=rows {
        for column in row.saturating_sub(band)..=received.len().min(row + band) {
            let Some(here) = at(row, column) else { continue };
            let look = |row: Option<usize>, column: Option<usize>, price: u32| {
                let from = row.zip(column).and_then(|(row, column)| at(row, column));
                from.map_or(FAR, |from| cost[from].saturating_add(price))
            };
            let (above, left) = (row.checked_sub(1), column.checked_sub(1));
            cost[here] = match (above, left) {
                (None, None) => 0,
                (_, _) => {
                    let price = above.zip(left).map_or(FAR, |(above, left)| change(sent[above], received[left]));
                    look(above, left, price).min(look(above, Some(column), LOST)).min(look(Some(row), left, ADDED))
                }
            };
        }
    }
    let mut fates = vec![Fate::Lost; rows];
    // Where the band leaves off, all that follows is lost.
    let (mut row, mut column) = (rows.min(received.len() + band), received.len());
    while row > 0 {
        let (Some(here), Some(above)) = (at(row, column), at(row - 1, column)) else {
            row -= 1;
            continue;
        };
        let diagonal = column.checked_sub(1).and_then(|left| at(row - 1, left));
        let price = |left: usize| change(sent[row - 1], received[left]);
        if diagonal.is_some_and(|from| cost[from].saturating_add(price(column - 1)) == cost[here]) {
            let came = received[column - 1];
            fates[row - 1] = if came == sent[row - 1] { Fate::Same } else { Fate::Changed(came) };
            (row, column) = (row - 1, column - 1);
        } else if cost[above].saturating_add(LOST) == cost[here] {
            row -= 1;
        } else {
            column = column.saturating_sub(1);
            if column == 0 {
                row -= 1;
            }
        }
    }
    fates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::line_test::ByteSet;

    fn sample_over(line: impl Fn(u8) -> Option<u8>, sample: Sample) -> Heard {
        let received: Vec<u8> = sample.bytes().into_iter().filter_map(line).collect();
        let raw = Raw { turn: 1, sample, marks: Vec::new() };
        raw.describe(&received, false)
    }

    fn check(line: impl Fn(u8) -> Option<u8>, expected: &str) {
        let Heard { top_bit_lost, lost, changed, damaged, .. } = sample_over(line, Sample::All);
        assert_eq!(format!("{top_bit_lost} lost {lost} changed {changed} damaged {damaged}"), expected);
    }

    #[test]
    fn what_a_line_does_to_each_value_is_found() {
        check(Some, "false lost  changed  damaged 0");
        check(|byte| Some(byte & 0x7f), "true lost  changed  damaged 0");
        check(|byte| (!matches!(byte, 0x11 | 0x13)).then_some(byte), "false lost 11.13 changed  damaged 0");
        let both = |byte| (!matches!(byte & 0x7f, 0x11 | 0x13)).then_some(byte & 0x7f);
        check(both, "true lost 11.13.91.93 changed  damaged 0");
        check(|byte| (byte >= 0x20).then_some(byte), "false lost 00-1f changed  damaged 0");
        check(|byte| Some(if byte == b'\r' { b'\n' } else { byte }), "false lost  changed 0d damaged 0");
        check(|byte| (byte < 0x80).then_some(byte), "false lost 80-ff changed  damaged 0");
        check(|byte| Some(byte | 0x80), "true lost  changed  damaged 0");
        check(
            |byte| Some(if byte.count_ones() % 2 == 1 { byte ^ 0x80 } else { byte }),
            "true lost  changed  damaged 0",
        );
    }

    /// Bytes that come at 9600 bit/s, 16 at once, with a pause before one portion; `piled`: the reader paused, not the line.
    fn speed_with_pause(pause_before: u64, pause: u64, piled: bool) -> u32 {
        let mut marks = vec![(Instant::default(), 0)];
        for n in 1..=16 {
            let due = n * 16_667;
            let at = match (n < pause_before, piled) {
                (true, _) => due,
                (false, false) => due + pause,
                // Portions read at once still differ by some microseconds.
                (false, true) => due.max(pause_before * 16_667 + pause) + n,
            };
            marks.push((Instant::from_micros(at), n as usize * 16));
        }
        let (bytes, time) = pace(&marks);
        speed(&Heard { timed: bytes as u32, micros: time.as_micros() as u32, ..Heard::default() }).unwrap_or(0)
    }

    #[test]
    fn a_pause_is_no_slow_line() {
        for pause_before in 1..=16 {
            assert!((9500..=9700).contains(&speed_with_pause(pause_before, 500_000, false)), "{pause_before}");
            // What has come meanwhile is read at once: too quick, or no speed at all, but never slow.
            for pause in [30_000, 60_000, 500_000] {
                let found = speed_with_pause(pause_before, pause, true);
                assert!(found == 0 || found > 9000, "{pause_before}, {pause}: {found}");
            }
        }
    }

    #[test]
    fn a_pause_across_the_border_of_two_stretches_is_no_slow_line() {
        // In milliseconds: 8 bytes come in 2, but for a pause of 500 that two stretches share.
        for border in [64, 128, 192] {
            for share in [20, 46, 100, 250, 480] {
                let mut marks = vec![(Instant::default(), 0)];
                let mut time = 0;
                for count in (8..=256).step_by(8) {
                    time += 2000;
                    time += if count == border { share * 1000 } else { 0 };
                    time += if count == border + 8 { (500 - share) * 1000 } else { 0 };
                    marks.push((Instant::from_micros(time), count));
                }
                let (bytes, took) = pace(&marks);
                assert!(
                    bytes > 0 && took.as_micros() as usize == bytes * 250,
                    "{border}, {share}: {bytes} in {took:?}"
                );
            }
        }
    }

    #[test]
    fn chance_is_told_from_habit() {
        let doubtful: ByteSet = [0x11, 0x40].into_iter().collect();
        let mut count = 0;
        let mut received = Vec::new();
        for byte in Sample::Again(doubtful).bytes() {
            count += u32::from(byte == 0x40);
            match (byte, count) {
                (0x11, _) => {}
                (0x40, 2) => received.push(0x41),
                (_, _) => received.push(byte),
            }
        }
        let raw = Raw { turn: 1, sample: Sample::Again(doubtful), marks: Vec::new() };
        let heard = raw.describe(&received, false);
        assert_eq!((heard.lost.to_string(), heard.changed.is_empty(), heard.damaged), ("11".to_owned(), true, 1));
    }

    #[test]
    fn damage_is_counted_where_it_is() {
        let mut bytes = Sample::Text(1000).bytes();
        bytes[100] ^= 1;
        bytes.drain(500..510);
        bytes.insert(700, b'!');
        let raw = Raw { turn: 1, sample: Sample::Text(1000), marks: Vec::new() };
        assert_eq!((raw.describe(&bytes, false).damaged, raw.describe(&bytes, false).looked_at), (11, 1000));
        // Nothing, and far too much.
        assert_eq!(raw.describe(&[], false).damaged, 1000);
        assert!(raw.describe(&[b'x'; 5000], false).damaged > 900);
    }
}
