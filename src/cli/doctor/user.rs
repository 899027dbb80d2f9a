//! The user whom the daemon runs as, and which devices that user may open.

use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::local::name_of;

/// Whoever owns the spool.
pub(super) struct User {
    pub name: String,
    id: u32,
    groups: Vec<u32>,
    /// The groups are those of a running daemon, which may have more than its user (`SupplementaryGroups=`).
    pub runs: bool,
}

/// Whether a user may read and write something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Open,
    /// To the members of its group only.
    ToGroup,
    Closed,
}

impl User {
    /// Whom to ask about: the owner of the spool, if we are root and that is another. `None`: ourselves.
    pub fn of(spool: &Path) -> Option<Self> {
        let id = fs::metadata(spool).ok()?.uid();
        if !nix::unistd::geteuid().is_root() || id == 0 {
            return None;
        }
        let running = groups_of_daemon(id);
        let runs = running.is_some();
        Some(Self { name: name_or_number(id), id, groups: running.unwrap_or_else(|| groups_of_user(id)), runs })
    }

    pub fn access(&self, facts: &Metadata) -> Access {
        self.access_to(facts.mode(), facts.uid(), facts.gid())
    }

    /// The first class that the user belongs to counts.
    fn access_to(&self, mode: u32, owner: u32, group: u32) -> Access {
        let allows = |shift: u32| mode >> shift & 0o6 == 0o6;
        let access = |allowed| if allowed { Access::Open } else { Access::Closed };
        match (owner == self.id, self.groups.contains(&group)) {
            (true, _) => access(allows(6)),
            (false, true) => access(allows(3)),
            (false, false) if !allows(0) && allows(3) => Access::ToGroup,
            (false, false) => access(allows(0)),
        }
    }
}

pub(super) fn name_or_number(id: u32) -> String {
    name_of(id.into()).unwrap_or_else(|| format!("user {id}"))
}

fn groups_of_user(id: u32) -> Vec<u32> {
    let Some(user) = nix::unistd::User::from_uid(id.into()).ok().flatten() else { return Vec::new() };
    let Ok(name) = std::ffi::CString::new(user.name) else { return Vec::new() };
    let groups = nix::unistd::getgrouplist(&name, user.gid).unwrap_or_default();
    groups.into_iter().map(nix::unistd::Gid::as_raw).chain([user.gid.as_raw()]).collect()
}

/// The groups of a process of this user that is the daemon.
fn groups_of_daemon(id: u32) -> Option<Vec<u32>> {
    let entries = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let is_daemon = |folder: &PathBuf| {
        let of_user = fs::metadata(folder).is_ok_and(|facts| facts.uid() == id);
        let words = || fs::read(folder.join("cmdline")).unwrap_or_default();
        of_user && is_run(&words())
    };
    entries.filter(is_daemon).find_map(|folder| groups_in(&fs::read_to_string(folder.join("status")).ok()?))
}

/// Whether this is the command line of `bangpath run`.
fn is_run(command: &[u8]) -> bool {
    let mut words = command.split(|byte| *byte == 0);
    let program = Path::new(std::ffi::OsStr::from_bytes(words.next().unwrap_or_default()));
    program.file_name().is_some_and(|name| name == "bangpath") && words.any(|word| word == b"run")
}

fn groups_in(status: &str) -> Option<Vec<u32>> {
    let after = |name: &str| status.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
    let ids = format!("{} {}", after("Gid:")?, after("Groups:")?);
    Some(ids.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_open_by_the_class_that_its_user_belongs_to() {
        let user = User { name: "bangpath".to_owned(), id: 700, groups: vec![700, 20], runs: true };
        let check = |mode, owner, group, expected| assert_eq!(user.access_to(mode, owner, group), expected);
        check(0o20660, 0, 20, Access::Open);
        check(0o20660, 0, 5, Access::ToGroup);
        check(0o20600, 0, 0, Access::Closed);
        check(0o20600, 0, 20, Access::Closed);
        check(0o20606, 0, 20, Access::Closed);
        check(0o20606, 0, 0, Access::Open);
        check(0o20640, 0, 20, Access::Closed);
        check(0o20600, 700, 0, Access::Open);
        check(0o20066, 700, 20, Access::Closed);
    }

    #[test]
    fn a_running_daemon_and_its_groups_are_recognised() {
        assert!(is_run(b"/usr/bin/bangpath\0-c\0x\0run\0") && !is_run(b"bangpath\0doctor\0") && !is_run(b""));
        let status = "Name:\tbangpath\nUid:\t7\t7\t7\t7\nGid:\t5\t5\t5\t5\nGroups:\t20 30 \n";
        assert_eq!(groups_in(status), Some(vec![5, 5, 5, 5, 20, 30]));
    }
}
