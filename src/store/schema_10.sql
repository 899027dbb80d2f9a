-- Logins that were given and are not known to be right, of the last minutes: calls under inetd or a getty have a process each.
CREATE TABLE wrong_login (
    id INTEGER PRIMARY KEY,
    -- An address, a network or a port.
    origin TEXT NOT NULL,
    at INTEGER NOT NULL,
    -- It is still looked at.
    pending INTEGER NOT NULL
) STRICT;
CREATE INDEX wrong_login_by_origin ON wrong_login (origin, at);
