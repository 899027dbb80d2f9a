//! Wildcards in names of files: `*`, `?`, `[a-z]`, `[!a-z]`.

/// Whether a word holds wildcards.
pub fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether a name matches. The work is bounded by the product of the lengths: only the last star is gone back to.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, n));
        } else if let Some(length) = one(&pattern[p..], name[n]) {
            (p, n) = (p + length, n + 1);
        } else if let Some((after, from)) = star {
            (p, n) = (after, from + 1);
            star = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How much of the pattern stands for this one character, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => match set(pattern, c) {
            Some((length, true)) => Some(length),
            Some((_, false)) => None,
            // Without its end it is a bracket like any other character.
            None => (c == '[').then_some(1),
        },
        first => (*first == c).then_some(1),
    }
}

/// The length of a set, and whether the character is in it.
fn set(pattern: &[char], c: char) -> Option<(usize, bool)> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let start = if negated { 2 } else { 1 };
    // A bracket that comes first is one of the set.
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let (mut at, mut within) = (start, false);
    while at < end {
        let range = at + 2 < end && pattern[at + 1] == '-';
        let (low, high) = (pattern[at], if range { pattern[at + 2] } else { pattern[at] });
        within |= (low..=high).contains(&c);
        at += if range { 3 } else { 1 };
    }
    Some((end + 1, within != negated))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "x", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.gz", false),
            ("a*b*c", "aXbYbZc", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[x", "[x", true),
            ("a", "A", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        let (stars, long) = ("*a".repeat(50), "a".repeat(255));
        assert!(!matches(&format!("{stars}b"), &long));
    }
}
