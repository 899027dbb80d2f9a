-- What is known of the way to a site over a port: the round trip that calls have measured (microseconds), and what a line test has
-- found, with the calls in which that has been believed since. NULL: not measured; no test, or one too long ago.
ALTER TABLE known_line RENAME TO old_line;
CREATE TABLE known_line (
    site        TEXT NOT NULL,
    port        TEXT NOT NULL,
    round_trip  INTEGER,
    eight_bit   INTEGER,
    transparent INTEGER,
    calls       INTEGER,
    PRIMARY KEY (site, port),
    CHECK ((eight_bit IS NULL) = (calls IS NULL) AND (transparent IS NULL) = (calls IS NULL))
) STRICT, WITHOUT ROWID;
-- In the old table 20 calls stood for both: no test, and too long ago.
INSERT INTO known_line (site, port, round_trip, eight_bit, transparent, calls)
    SELECT site, port, round_trip, iif(calls < 20, eight_bit, NULL), iif(calls < 20, transparent, NULL), iif(calls < 20, calls, NULL)
    FROM old_line;
DROP TABLE old_line;
