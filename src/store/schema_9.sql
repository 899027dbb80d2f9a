-- What calls have counted on the way: bytes carried, and how often some were damaged. NULL: nothing was counted.
ALTER TABLE known_line ADD COLUMN carried INTEGER;
ALTER TABLE known_line ADD COLUMN damaged INTEGER CHECK ((damaged IS NULL) = (carried IS NULL));
