-- Version 3. A program that asks for a trial holds all of its folds with one lease, which lasts as long as it wished.

-- Null for a worker's lease, whose length is the coordinator's to say.
ALTER TABLE lease ADD COLUMN lease_ms INTEGER;
-- When the program was last heard of; null before its first word after it asked.
ALTER TABLE lease ADD COLUMN renewed_at INTEGER;

CREATE INDEX attempt_by_lease ON attempt (lease_id);
