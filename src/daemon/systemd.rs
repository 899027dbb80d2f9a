//! What systemd gives a service and wants to hear: passed sockets (sd_listen_fds), readiness (sd_notify).

use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::base::limits::PASSED_SOCKETS_MAX;

/// The first of them (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// Sockets that were opened for us, with their names; empty where systemd did not start us. To be called once, before
/// anything else opens a file.
pub fn passed_sockets() -> Vec<(String, OwnedFd)> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let mine = variable("LISTEN_PID").parse() == Ok(std::process::id());
    let names = names(mine, &variable("LISTEN_FDS"), &variable("LISTEN_FDNAMES"));
    let sockets = names.into_iter().zip(FIRST..).map(|(name, fd)| {
        // SAFETY: by the protocol the descriptor is open and ours alone; nobody else has taken it up.
        (name, unsafe { OwnedFd::from_raw_fd(fd) })
    });
    // No program of a port may keep a service's address.
    sockets.filter(|(_, fd)| fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok()).collect()
}

fn names(mine: bool, count: &str, names: &str) -> Vec<String> {
    let count: usize = count.parse().unwrap_or(0);
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
    names.take(if mine { count.min(PASSED_SOCKETS_MAX) } else { 0 }).collect()
}

/// Tells systemd how we are (`READY=1`, `STOPPING=1`), where it asks for it.
pub(super) fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let told = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = told {
        tracing::warn!(path, %error, "cannot tell systemd");
    }
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn sockets_are_ours_only_if_they_were_passed_to_us() {
        assert_eq!(names(true, "3", "smtp::nntp"), ["smtp", "", "nntp"]);
        assert_eq!(names(true, "2", ""), ["", ""]);
        assert_eq!(names(true, "99999999", "").len(), super::PASSED_SOCKETS_MAX);
        for (mine, count) in [(false, "3"), (true, ""), (true, "-1"), (true, "x")] {
            assert_eq!(names(mine, count, "smtp"), [""; 0]);
        }
    }
}
