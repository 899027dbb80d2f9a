//! Real peers: Taylor UUCP in both roles, on pipes, TCP and ptys; swaks, Postfix's sink and source; Exim; INN; compress.
//! They are brought by `make peers`.

mod batches;
mod demo;
#[path = "../behaviour/lines/exchange.rs"]
mod exchange;
mod executions;
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
