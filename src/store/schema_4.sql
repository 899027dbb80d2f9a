-- The number of the last call with a site, where calls are counted (-Q). `doubtful`: the site called with it, and may not have
-- heard that we took it.
CREATE TABLE call_number (
    site     TEXT PRIMARY KEY,
    number   INTEGER NOT NULL,
    doubtful INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- Calls that an operator wants to end: drain, orderly, now.
CREATE TABLE hang_up (
    site TEXT PRIMARY KEY,
    how  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
