-- Hops that could not be reached: none is tried before `not_before`. (UUCP sites have a table of their own.)
CREATE TABLE hop (
    hop        TEXT PRIMARY KEY,
    failures   INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    last_error TEXT NOT NULL
) STRICT, WITHOUT ROWID;
