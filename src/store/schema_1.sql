-- Times are microseconds since 1970 in UTC, sizes are bytes.

-- Bytes kept once. `refs` counts the rows of other tables that name a body; at zero it goes.
-- (The count stands for foreign keys, which would cost an index in each of those tables.)
-- Small ones stand in body_bytes (apart, so that counting does not rewrite them), large ones in bodies/<file>.
CREATE TABLE body (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    refs INTEGER NOT NULL CHECK (refs >= 0),
    size INTEGER NOT NULL,
    file TEXT
) STRICT;
CREATE UNIQUE INDEX body_file ON body (file) WHERE file IS NOT NULL;
CREATE TABLE body_bytes (
    id    INTEGER PRIMARY KEY REFERENCES body (id),
    bytes BLOB NOT NULL
) STRICT;

-- UUCP transfers made from items. `offered` is the place in the order of first offers; NULL: no peer has seen it.
CREATE TABLE job (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    site       TEXT NOT NULL,
    grade      TEXT NOT NULL,
    deed       TEXT NOT NULL,
    data       INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    sequence   TEXT NOT NULL,
    sequence_x TEXT NOT NULL,
    offered    INTEGER
) STRICT;
CREATE INDEX job_site ON job (site, offered);
-- The next sequence name of a site, as a number.
CREATE TABLE job_sequence (
    site TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What waits for a hop.
CREATE TABLE item (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hop        TEXT NOT NULL,
    grade      TEXT NOT NULL,
    cargo      TEXT NOT NULL,
    body       INTEGER,
    size       INTEGER NOT NULL,
    queued     INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    held       TEXT,
    last_error TEXT,
    job        INTEGER REFERENCES job (id)
) STRICT;
-- Answers both questions of the scheduler without looking at the rows: what is ready, and the totals.
CREATE INDEX item_hop ON item (hop, grade, id, not_before, held, job, size, queued);
CREATE INDEX item_job ON item (job) WHERE job IS NOT NULL;

CREATE TABLE site (
    name         TEXT PRIMARY KEY,
    last_call    INTEGER,
    last_result  TEXT,
    last_success INTEGER,
    failures     INTEGER NOT NULL,
    not_before   INTEGER,
    held         TEXT,
    call_wanted  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What an interrupted call left in partial/<file>: `len` bytes of it are synced.
CREATE TABLE partial (
    site    TEXT NOT NULL,
    temp    TEXT NOT NULL,
    size    INTEGER NOT NULL,
    wanted  TEXT NOT NULL,
    file    TEXT NOT NULL UNIQUE,
    len     INTEGER NOT NULL,
    touched INTEGER NOT NULL,
    PRIMARY KEY (site, temp)
) STRICT, WITHOUT ROWID;
CREATE INDEX partial_touched ON partial (touched);
-- Files received whole whose confirmation the peer may not have seen.
CREATE TABLE receipt (
    site     TEXT NOT NULL,
    temp     TEXT NOT NULL,
    size     INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (site, temp)
) STRICT, WITHOUT ROWID;
CREATE INDEX receipt_received ON receipt (received);
-- Files received whole that wait to be unpacked. `spool` is the name of a D. or X. file.
CREATE TABLE received (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    site       TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    spool      TEXT,
    body       INTEGER NOT NULL,
    received   INTEGER NOT NULL,
    progress   INTEGER NOT NULL DEFAULT 0,
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL,
    last_error TEXT
) STRICT;
CREATE INDEX received_spool ON received (site, spool) WHERE spool IS NOT NULL;

CREATE TABLE user (
    name     TEXT PRIMARY KEY,
    password TEXT,
    added    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- The highest number given in each mailbox: numbers never come again.
CREATE TABLE mailbox (
    user TEXT PRIMARY KEY,
    last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE mail (
    user     TEXT NOT NULL REFERENCES mailbox (user),
    number   INTEGER NOT NULL,
    received INTEGER NOT NULL,
    sender   TEXT NOT NULL,
    size     INTEGER NOT NULL,
    body     INTEGER NOT NULL,
    PRIMARY KEY (user, number)
) STRICT, WITHOUT ROWID;

-- `high` is the highest number given; `count` how many articles are there.
CREATE TABLE newsgroup (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    status      TEXT NOT NULL,
    high        INTEGER NOT NULL DEFAULT 0,
    count       INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL
) STRICT;
CREATE TABLE article (
    id         INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL UNIQUE,
    subject    TEXT NOT NULL,
    author     TEXT NOT NULL,
    date       TEXT NOT NULL,
    refs       TEXT NOT NULL,
    bytes      INTEGER NOT NULL,
    lines      INTEGER NOT NULL,
    body       INTEGER NOT NULL,
    arrived    INTEGER NOT NULL
) STRICT;
CREATE INDEX article_arrived ON article (arrived);
CREATE TABLE placed (
    newsgroup INTEGER NOT NULL REFERENCES newsgroup (id),
    number    INTEGER NOT NULL,
    article   INTEGER NOT NULL REFERENCES article (id),
    PRIMARY KEY (newsgroup, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX placed_article ON placed (article);
-- The part of the history that has no article: refused, expired, cancelled.
CREATE TABLE gone (
    message_id TEXT PRIMARY KEY,
    noted      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    verb   TEXT NOT NULL,
    what   TEXT NOT NULL,
    place  TEXT NOT NULL,
    id     TEXT NOT NULL,
    bytes  INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
-- What could neither be delivered nor returned. Of an item, `hop`, `grade` and `cargo` are kept for a retry, of a
-- received file `site` and `purpose`.
CREATE TABLE dead (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    why     TEXT NOT NULL,
    size    INTEGER NOT NULL,
    body    INTEGER,
    hop     TEXT,
    grade   TEXT,
    cargo   TEXT,
    site    TEXT,
    purpose TEXT,
    spool   TEXT
) STRICT;
