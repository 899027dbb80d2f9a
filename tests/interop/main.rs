//! Real peers: Taylor UUCP in both roles, on pipes, TCP and ptys; Postfix's sink; compress. They are brought by `make peers`.

mod demo;
mod line;
mod ours;
mod peers;
mod taylor;
mod uucp;
