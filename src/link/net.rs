//! TCP, in and out.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::{Link, LinkError};
use crate::dialogue::Facts;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Connects to `host:port`, trying each address of the host.
pub async fn connect(address: &str) -> Result<Link, LinkError> {
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
    match connecting.await {
        Err(_elapsed) => Err(LinkError::Silence { address: address.to_owned(), waited: CONNECT_TIMEOUT }),
        Ok(Err(source)) => Err(LinkError::Connect { address: address.to_owned(), source }),
        Ok(Ok(stream)) => Ok(link(stream, address.to_owned())),
    }
}

/// Listens on `address:port`. Port 0 takes a free one: ask the listener which.
pub async fn listen(address: &str) -> Result<TcpListener, LinkError> {
    TcpListener::bind(address).await.map_err(|source| LinkError::Listen { address: address.to_owned(), source })
}

/// The next caller.
pub async fn accept(listener: &TcpListener) -> std::io::Result<(Link, SocketAddr)> {
    let (stream, peer) = listener.accept().await?;
    Ok((link(stream, peer.to_string()), peer))
}

fn link(stream: TcpStream, peer: String) -> Link {
    // Small replies would otherwise wait 40 ms each for the peer's acknowledgement; failing that they just do.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    Link::new(Facts::stream(peer), reader, writer)
}
