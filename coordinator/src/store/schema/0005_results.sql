-- Version 5. What training makes beside its losses: results by kind, and the model that a study starts from.

-- A result has its own kind, and `epoch` is null for one of the whole attempt. A row of kind `source` belongs to a study and to
-- no trial: the model that it starts from. Of a fold there is one row a kind and epoch, which is looked up before it is
-- replaced.
CREATE INDEX artifact_by_fold ON artifact (trial_id, fold, kind, epoch);
DROP INDEX artifact_by_trial;

-- For the removal of a study, which looks for what came from it.
CREATE INDEX study_by_parent ON study (parent_study) WHERE parent_study IS NOT NULL;
