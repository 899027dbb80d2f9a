-- How the ways to a site have done, so that one that fails does not keep the others waiting.
CREATE TABLE way (
    site         TEXT    NOT NULL,
    port         TEXT    NOT NULL,
    last_failure INTEGER NOT NULL,
    PRIMARY KEY (site, port)
) STRICT, WITHOUT ROWID;
