-- What people say of each label now: the newest decision that is not undone, if it settles the label. One that waits for a
-- second person or a lead is not here.
CREATE OR REPLACE VIEW nightreel.standing_decisions AS
SELECT newest.*
FROM (
    SELECT DISTINCT ON (decision.content, decision.prompt_id, decision.tag)
           decision.content, decision.prompt_id, decision.tag, decision.id, decision.case_id, decision.ruling,
           decision.decided_at, decision.settles
    FROM nightreel.decisions AS decision
    WHERE decision.undoes IS NULL
      AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = decision.id)
    ORDER BY decision.content, decision.prompt_id, decision.tag, decision.id DESC
) AS newest
WHERE newest.settles;
