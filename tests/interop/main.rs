//! Real peers: Taylor UUCP in both roles, on pipes, TCP and ptys; minicom and gettys; swaks, Postfix, Exim; INN; compress.
//! They are brought by `make peers`.

mod batches;
mod demo;
#[path = "../behaviour/lines/exchange.rs"]
mod exchange;
mod executions;
mod gettys;
mod inetd;
mod line;
mod mail;
mod matrix;
mod netserial;
mod news;
mod ours;
mod peers;
mod servers;
mod session;
mod taylor;
mod telnet;
mod uucp;
