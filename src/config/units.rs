//! Sizes and durations as people write them.

use std::time::Duration;

/// `100K`, `64M`, `2G`, or plain bytes; K is 1024.
pub fn size(text: &str) -> Option<u64> {
    let (digits, unit) = split(text)?;
    let factor = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" => 1 << 10,
        "M" | "MB" => 1 << 20,
        "G" | "GB" => 1 << 30,
        _ => return None,
    };
    digits.checked_mul(factor)
}

/// `30s`, `10m`, `1h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = split(text)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    // A century is as good as for ever, and adds to any date without overflow.
    Some(Duration::from_secs(digits.checked_mul(factor)?.min(100 * 365 * 24 * 3600)))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

/// The word of `known` that is most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let best = known.into_iter().map(|k| (distance(word, k), k)).min()?;
    (best.0 <= (word.len() / 3).max(2)).then_some(best.1)
}

/// Edits that make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let changed = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(
            [size("100K"), size("64 MB"), size("7"), size("x"), size("1T"), size("99999999999999999999")],
            [Some(102_400), Some(64 << 20), Some(7), None, None, None]
        );
        assert_eq!(
            [duration("10m"), duration("7d"), duration("7")],
            [Some(Duration::from_secs(600)), Some(Duration::from_secs(604_800)), None]
        );
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("modm", ["net", "modem"]), Some("modem"));
        assert_eq!(nearest("zzz", ["net", "modem"]), None);
    }
}
