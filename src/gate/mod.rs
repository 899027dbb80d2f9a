//! The connected side and the local clients: SMTP and NNTP, in and out.
