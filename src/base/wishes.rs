//! What users ask for beside a copy or a command itself: option letters of `S`, `R`, `X` and `E`, and of `X.` files.

/// Of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyWishes {
    /// `f`: only into folders that are there.
    pub no_folders: bool,
    /// `m`: who asked is told by mail when it is done.
    pub tell_asker: bool,
    /// `n`: this user where the copy goes is told by mail when it has come.
    pub notify: Option<String>,
}

impl CopyWishes {
    /// Of a command. Without `d` and `f` folders are made; with both `f` holds. (Taylor 1.07)
    pub fn parse(letters: &str, notify: &str) -> Self {
        Self {
            no_folders: letters.contains('f'),
            tell_asker: letters.contains('m'),
            notify: Some(notify.to_owned()).filter(|user| !user.is_empty() && letters.contains('n')),
        }
    }

    /// The letters in Taylor's order.
    pub fn letters(&self) -> String {
        let letters = [
            if self.no_folders { "f" } else { "d" },
            if self.tell_asker { "m" } else { "" },
            if self.notify.is_some() { "n" } else { "" },
        ];
        letters.concat()
    }
}

/// Of a command: of what end the requestor is told by mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reports {
    /// Nothing is said of it: of failures.
    #[default]
    Unsaid,
    /// `Z`: of failures.
    Failures,
    /// `N`: of none.
    Never,
    /// `n` of an `X.` file: of success too.
    All,
}

impl Reports {
    /// Of the letters `N`, `Z` and `n`. Whoever wants no mail gets none.
    pub fn parse(letters: &str) -> Self {
        match (letters.contains('N'), letters.contains('n'), letters.contains('Z')) {
            (true, _, _) => Self::Never,
            (false, true, _) => Self::All,
            (false, false, true) => Self::Failures,
            (false, false, false) => Self::Unsaid,
        }
    }

    pub fn letter(self) -> &'static str {
        match self {
            Self::Unsaid => "",
            Self::Failures => "Z",
            Self::Never => "N",
            Self::All => "n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_say_what_is_wished_and_no_more() {
        for (letters, notify, expected) in [
            ("Cd", "", "d"),
            ("C", "", "d"),
            ("Cfd", "", "f"),
            ("cfmn", "bob", "fmn"),
            ("dn", "", "d"),
            ("d", "bob", "d"),
        ] {
            assert_eq!(CopyWishes::parse(letters, notify).letters(), expected, "{letters} {notify}");
        }
        for (letters, expected) in [("CZR", "Z"), ("CNR", "N"), ("CZN", "N"), ("C", ""), ("nZ", "n"), ("nN", "N")] {
            assert_eq!(Reports::parse(letters).letter(), expected, "{letters}");
        }
    }
}
