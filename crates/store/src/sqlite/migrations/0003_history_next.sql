-- When the attempt after this line is due, as it was decided then: what is not sent is never cleared, and the history shows it.
ALTER TABLE history ADD COLUMN next_at INTEGER;
