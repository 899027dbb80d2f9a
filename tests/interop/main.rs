//! Real peers: Taylor UUCP in both roles, on pipes, TCP and ptys; swaks, Postfix's sink and source; INN; compress.
//! They are brought by `make peers`.

mod demo;
mod line;
mod mail;
mod news;
mod ours;
mod peers;
mod servers;
mod taylor;
mod uucp;
