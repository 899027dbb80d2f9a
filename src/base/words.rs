//! Words for people, as lines in logs and listings want them.

/// `1 file`, `2 files`
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
