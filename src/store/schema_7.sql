-- How far a file had been unpacked when it was buried: tried again, it goes on from there.
ALTER TABLE dead ADD COLUMN progress INTEGER NOT NULL DEFAULT 0;
