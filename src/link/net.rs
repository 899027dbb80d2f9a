//! TCP and Unix sockets, in and out.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, setsockopt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::{Link, LinkError};
use crate::dialogue::Facts;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// A caller that says nothing for so long, in seconds, is asked by the kernel whether it is there: so often, with such pauses.
const ASK_AFTER_S: u32 = 60;
const ASK_TIMES: u32 = 4;
const ASK_EVERY_S: u32 = 15;
/// Who may connect to a Unix socket of ours: our user and group.
const SOCKET_MODE: u32 = 0o660;

/// Who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    /// By a Unix socket: whoever may open it.
    Unix,
}

impl Peer {
    /// A client of a Unix socket is as near as one of the loopback address.
    pub fn ip(self) -> IpAddr {
        match self {
            Self::Tcp(address) => address.ip().to_canonical(),
            Self::Unix => Ipv4Addr::LOCALHOST.into(),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix socket"),
        }
    }
}

/// Connects to `host:port`, trying each address of the host, or to the Unix socket at a path.
pub async fn connect(address: &str) -> Result<Link, LinkError> {
    let connecting = async {
        match address.starts_with('/') {
            true => UnixStream::connect(address).await.map(|stream| unix_link(stream, address.to_owned())),
            false => TcpStream::connect(address).await.map(|stream| link(stream, address.to_owned())),
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Err(_elapsed) => Err(LinkError::Silence { address: address.to_owned(), waited: CONNECT_TIMEOUT }),
        Ok(connected) => connected.map_err(|source| LinkError::Connect { address: address.to_owned(), source }),
    }
}

/// A socket where callers are waited for.
pub struct Listener {
    socket: Socket,
    /// A Unix socket that we made and that goes with us.
    made: Option<PathBuf>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Its address as it can be connected to; with port 0 nobody else could know it.
    pub fn address(&self) -> io::Result<String> {
        match (&self.socket, &self.made) {
            (_, Some(path)) => Ok(path.display().to_string()),
            (Socket::Tcp(listener), None) => Ok(listener.local_addr()?.to_string()),
            (Socket::Unix(listener), None) => {
                let address = listener.local_addr()?;
                Ok(address.as_pathname().map_or("unix socket".to_owned(), |path| path.display().to_string()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Listens on `address:port`, or on a Unix socket at a path. Port 0 takes a free one: ask the listener which.
pub async fn listen(address: &str) -> Result<Listener, LinkError> {
    let failed = |source| LinkError::Listen { address: address.to_owned(), source };
    if !address.starts_with('/') {
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        return Ok(Listener { socket: Socket::Tcp(listener), made: None });
    }
    let path = Path::new(address);
    let listener = listen_at(path).map_err(failed)?;
    Ok(Listener { socket: Socket::Unix(listener), made: Some(path.to_owned()) })
}

/// Made under another name and then renamed: nobody finds it with a mode that is not its own. What a dead one has left
/// is replaced.
fn listen_at(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) | Err(_) => {}
    }
    let mut own = path.as_os_str().to_owned();
    own.push(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(&own);
    let listener = StdUnixListener::bind(&own)?;
    let placed = std::fs::set_permissions(&own, std::fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| std::fs::rename(&own, path))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| UnixListener::from_std(listener));
    if placed.is_err() {
        let _ = std::fs::remove_file(&own);
    }
    placed
}

/// A listening socket that whoever started us has opened (systemd).
pub fn inherit(socket: OwnedFd) -> Result<Listener, LinkError> {
    let open = || -> io::Result<Socket> {
        let address: SockaddrStorage = getsockname(std::os::fd::AsRawFd::as_raw_fd(&socket))?;
        if address.family() == Some(AddressFamily::Unix) {
            let listener = StdUnixListener::from(socket.as_fd().try_clone_to_owned()?);
            listener.set_nonblocking(true)?;
            return Ok(Socket::Unix(UnixListener::from_std(listener)?));
        }
        let listener = std::net::TcpListener::from(socket.as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        Ok(Socket::Tcp(TcpListener::from_std(listener)?))
    };
    let socket = open().map_err(|source| LinkError::Listen { address: "a socket passed to us".to_owned(), source })?;
    Ok(Listener { socket, made: None })
}

/// The next caller.
pub async fn accept(listener: &Listener) -> io::Result<(Link, Peer)> {
    match &listener.socket {
        Socket::Tcp(listener) => {
            let (stream, peer) = listener.accept().await?;
            // Failing that a caller is missed when we have something to say.
            let _ = miss_silent(&stream);
            Ok((link(stream, peer.to_string()), Peer::Tcp(peer)))
        }
        Socket::Unix(listener) => {
            let (stream, _unnamed) = listener.accept().await?;
            Ok((unix_link(stream, Peer::Unix.to_string()), Peer::Unix))
        }
    }
}

/// A caller whose power or network failed says no good-bye: it would hold what it has (a lent line, a place) for ever.
fn miss_silent(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, TcpKeepIdle, &ASK_AFTER_S)?;
    setsockopt(stream, TcpKeepInterval, &ASK_EVERY_S)?;
    setsockopt(stream, TcpKeepCount, &ASK_TIMES)?;
    setsockopt(stream, KeepAlive, &true)
}

/// Who is at the other end of an open file, if it is a socket.
pub(super) fn peer_of(file: &OwnedFd) -> Option<Peer> {
    let tcp = std::net::TcpStream::from(file.try_clone().ok()?);
    match tcp.peer_addr() {
        Ok(address) => {
            let _ = tcp.set_nodelay(true);
            Some(Peer::Tcp(address))
        }
        Err(_) => {
            let unix = std::os::unix::net::UnixStream::from(OwnedFd::from(tcp));
            unix.peer_addr().ok().map(|_unnamed| Peer::Unix)
        }
    }
}

fn link(stream: TcpStream, peer: String) -> Link {
    // Small replies would otherwise wait 40 ms each for the peer's acknowledgement; failing that they just do.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    Link { socket: true, ..Link::new(Facts::stream(peer), reader, writer) }
}

fn unix_link(stream: UnixStream, peer: String) -> Link {
    let (reader, writer) = stream.into_split();
    Link { socket: true, ..Link::new(Facts::stream(peer), reader, writer) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A peer that says something more while we hang up, and only then looks at what we said.
    fn check(link: Link, mut peer: impl Read + Write + Send + 'static, runtime: &tokio::runtime::Runtime) {
        let peer = std::thread::spawn(move || {
            peer.write_all(b"OOOOOO")?;
            let mut heard = [0; 3];
            peer.read_exact(&mut heard)?;
            peer.write_all(b"OOOOOO")?;
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest)?;
            Ok::<_, io::Error>((heard, rest))
        });
        runtime.block_on(async {
            let mut link = link;
            link.refuse(b"HY\0").await;
            link.close().await;
        });
        let heard = peer.join().expect("it does not panic").expect("the end is no error");
        assert_eq!(heard, (*b"HY\0", Vec::new()));
    }

    #[test]
    fn a_peer_that_still_speaks_when_we_hang_up_sees_the_end_and_no_error() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(listen("127.0.0.1:0")).expect("a port");
        let address = listener.address().expect("an address");
        for _ in 0..20 {
            let peer = std::net::TcpStream::connect(&address).expect("it listens");
            let (link, _) = runtime.block_on(accept(&listener)).expect("a caller");
            check(link, peer, &runtime);
        }
    }

    /// The kernel's notes on the connection that has this port here and that port there: which timer runs, and for how many seconds.
    fn timer(here: u16, there: u16) -> (String, u64) {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
        let of_it = |line: &&str| {
            let ports = line.split_whitespace().skip(1).take(2).map(|at| at.rsplit(':').next());
            ports.eq([here, there].map(|port| Some(format!("{port:04X}"))).iter().map(Option::as_deref))
        };
        let line = table.lines().find(of_it).expect("the connection");
        let (kind, when) = line.split_whitespace().nth(5).and_then(|timer| timer.split_once(':')).expect("a timer");
        // It counts in hundredths of a second.
        (kind.to_owned(), u64::from_str_radix(when, 16).expect("a number") / 100)
    }

    #[test]
    fn a_caller_that_goes_without_a_word_is_missed() {
        const KEEP_ALIVE: &str = "02";
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = listen("127.0.0.1:0").await.expect("a port");
            let address: SocketAddr = listener.address().expect("an address").parse().expect("an address");
            let caller = std::net::TcpStream::connect(address).expect("it listens");
            let _link = accept(&listener).await.expect("a caller");
            let (kind, seconds) = timer(address.port(), caller.local_addr().expect("an address").port());
            assert_eq!(kind, KEEP_ALIVE);
            assert!(seconds <= u64::from(ASK_AFTER_S), "asked in {seconds} s");
        });
    }
}
