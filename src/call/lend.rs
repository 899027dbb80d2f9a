//! A port that other programs may have over the network while we do not use it.

use super::{CallError, Context};
use crate::base::names::PortName;
use crate::link::{self, Link, LinkError, SerialLine};
use crate::store::LockKind;

/// A serial port of ours that is lent over RFC 2217.
#[derive(Debug, Clone)]
pub struct SharedPort {
    pub name: PortName,
    pub line: SerialLine,
    /// Where its clients come.
    pub address: String,
}

/// Lends the port to a client until either goes. Where a call or another program has it, the client hears so.
pub async fn lend(context: &Context, port: &SharedPort, mut client: Link) -> Result<(), CallError> {
    let name = &port.name;
    let Some(_lock) = context.store.lock(LockKind::Port, name.as_str())? else {
        client.refuse(format!("port {name} is in use by a call\r\n").as_bytes()).await;
        return Ok(());
    };
    let line = match link::open_serial(&port.line).await {
        Ok(line) => line,
        Err(LinkError::Busy { .. }) => {
            client.refuse(format!("port {name} is in use by another program\r\n").as_bytes()).await;
            return Ok(());
        }
        Err(error) => {
            client.refuse(format!("port {name} cannot be opened\r\n").as_bytes()).await;
            return Err(error.into());
        }
    };
    tracing::info!(port = %name, client = %client.facts.peer, "lent");
    link::lend(client, line).await?;
    tracing::info!(port = %name, "given back");
    Ok(())
}
