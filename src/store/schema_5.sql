-- What the calls with a site came to, one row a day (days since 1970, in UTC), counted in the change that records the call.
-- The rows stay when the ledger is trimmed. The failures are kinds of failed calls; `timed_ms` is the part of `connected_ms` on
-- lines whose speed is known, `needed_ms` what their bytes need at that speed.
CREATE TABLE statistics (
    site           TEXT    NOT NULL,
    day            INTEGER NOT NULL,
    placed         INTEGER NOT NULL,
    answered       INTEGER NOT NULL,
    not_reached    INTEGER NOT NULL,
    not_logged_in  INTEGER NOT NULL,
    not_agreed     INTEGER NOT NULL,
    line_lost      INTEGER NOT NULL,
    protocol_error INTEGER NOT NULL,
    ended_here     INTEGER NOT NULL,
    files_sent     INTEGER NOT NULL,
    bytes_sent     INTEGER NOT NULL,
    files_received INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL,
    connected_ms   INTEGER NOT NULL,
    timed_ms       INTEGER NOT NULL,
    needed_ms      INTEGER NOT NULL,
    packets        INTEGER NOT NULL,
    packets_again  INTEGER NOT NULL,
    packet_errors  INTEGER NOT NULL,
    PRIMARY KEY (site, day)
) STRICT, WITHOUT ROWID;
