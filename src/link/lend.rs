//! A serial line of ours lent to a client on the network, who sets it as if it were its own (RFC 2217).

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::termios::{self, SetArg, Termios};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::comport;
use super::telnet::Speaks;
use super::{Link, LinkError};

/// How often the modem lines are looked at.
const LINES_LOOK: Duration = Duration::from_millis(200);
/// How long a line may take nothing of what its client says: it would hold the port for ever.
const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Gives a tty the modes back that it had: it may be open elsewhere in this program, waiting for callers.
struct Restoring {
    tty: OwnedFd,
    before: Termios,
}

impl Restoring {
    fn new(tty: OwnedFd) -> io::Result<Self> {
        let before = termios::tcgetattr(&tty)?;
        Ok(Self { tty, before })
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(&self.tty, SetArg::TCSANOW, &self.before);
    }
}

/// Lends an open line of ours to a client until either of them goes.
pub async fn lend(client: Link, line: Link) -> Result<(), LinkError> {
    let mut client = client.over_telnet(Speaks::TelnetCaller);
    let telnet = client.telnet.clone().expect("it has been put over telnet");
    let restoring = |claim: &super::serial::Claim| claim.tty().and_then(Restoring::new).map_err(LinkError::Standard);
    let Link { reader: mut from_line, writer: mut to_line, claim, lines, facts, .. } = line;
    let _restoring = claim.as_ref().map(restoring).transpose()?;
    comport::lock(&telnet).lend(lines, facts.speed);
    let up = async {
        let mut bytes = [0; 1024];
        loop {
            let count = client.reader.read(&mut bytes).await?;
            if count == 0 {
                return io::Result::Ok(());
            }
            tokio::time::timeout(STALL_TIMEOUT, to_line.write_all(&bytes[..count])).await??;
        }
    };
    let down = tokio::io::copy(&mut from_line, &mut client.writer);
    let news = async {
        loop {
            tokio::time::sleep(LINES_LOOK).await;
            comport::lock(&telnet).tell_news();
        }
    };
    let ended = tokio::select! {
        ended = up => ended,
        ended = down => ended.map(drop),
        () = news => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(client = %client.facts, %error, "a lent line");
    }
    Ok(())
}
