-- Version 2. What each rule of pruning has to say, and the order in which epochs were recorded.

-- A rule has the columns that it needs; the others are null. `epoch` is null where a finished fold was judged. `percentile`
-- belongs to median, percentile and paired, `rung` and `kept` to successive-halving and hyperband, `bracket` to the latter,
-- `against` (a trial's number), `alpha`, `standard_error` and `degrees` to sequential, `patience` to every kind that has it.
CREATE TABLE decision_2 (
    id             INTEGER PRIMARY KEY,
    trial_id       INTEGER NOT NULL REFERENCES trial (id) ON DELETE CASCADE,
    fold           INTEGER NOT NULL,
    epoch          INTEGER,
    rule           TEXT NOT NULL,
    own            REAL,
    threshold      REAL,
    peers          INTEGER NOT NULL,
    percentile     REAL,
    bracket        INTEGER,
    rung           INTEGER,
    kept           INTEGER,
    against        INTEGER,
    alpha          REAL,
    standard_error REAL,
    degrees        INTEGER,
    patience       INTEGER,
    event_seq      INTEGER NOT NULL REFERENCES event (seq)
) STRICT;

INSERT INTO decision_2 (id, trial_id, fold, epoch, rule, own, threshold, peers, percentile, event_seq)
SELECT id, trial_id, fold, epoch, rule, own, threshold, peers, percentile, event_seq FROM decision;

DROP TABLE decision;
ALTER TABLE decision_2 RENAME TO decision;
CREATE INDEX decision_by_trial ON decision (trial_id);

-- The place of an epoch in the order of all that was recorded; epochs and events take their numbers from one sequence. Null
-- for what was recorded before this version.
ALTER TABLE epoch ADD COLUMN seq INTEGER;
