-- What a line test has found of the way to a site over a port, and in how many calls it has been believed since.
CREATE TABLE known_line (
    site        TEXT NOT NULL,
    port        TEXT NOT NULL,
    eight_bit   INTEGER NOT NULL,
    transparent INTEGER NOT NULL,
    speed       INTEGER,
    round_trip  INTEGER,
    calls       INTEGER NOT NULL,
    PRIMARY KEY (site, port)
) STRICT, WITHOUT ROWID;
