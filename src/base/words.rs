//! Words for people, as lines in logs and listings want them.

use std::error::Error;

/// `1 file`, `2 files`
pub fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// An error and what it comes from, on one line: `cannot open /dev/ttyUSB0: No such file or directory (os error 2)`.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Trouble {
        #[error("cannot open {0}")]
        Open(&'static str, #[source] std::io::Error),
        #[error("{0}")]
        Within(#[source] Box<Trouble>),
    }

    #[test]
    fn an_error_is_told_with_its_causes_and_nothing_twice() {
        let absent = || Trouble::Open("tty", std::io::Error::other("nobody there"));
        assert_eq!(with_causes(&absent()), "cannot open tty: nobody there");
        assert_eq!(with_causes(&Trouble::Within(Box::new(absent()))), "cannot open tty: nobody there");
    }
}
