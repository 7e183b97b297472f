-- What two people said of the same label without knowing of each other: one row for each second review that stands.
-- `decision_id`: of the second one. Krippendorff's alpha over these rows is what `nightreel audit agreement` prints: the
-- formula is written once, in Python, where it is tested against a published example.
CREATE OR REPLACE VIEW reporting.agreement AS
SELECT second.id AS decision_id,
       second.case_id,
       prompt.set_name AS prompt_set,
       prompt.name AS prompt,
       nullif(second.tag, '') AS tag,
       first.ruling AS first_ruling,
       second.ruling AS second_ruling,
       first.ruling = second.ruling AS agreed,
       one.pseudonym AS first_reviewer,
       other.pseudonym AS second_reviewer,
       second.decided_at,
       EXISTS (SELECT FROM nightreel.case_videos AS video WHERE video.case_id = second.case_id AND video.restricted)
           AS restricted,
       second.prompt_id
FROM nightreel.decisions AS second
JOIN LATERAL (
    SELECT earlier.ruling, earlier.user_id
    FROM nightreel.decisions AS earlier
    WHERE earlier.content = second.content AND earlier.prompt_id = second.prompt_id AND earlier.tag = second.tag
      AND earlier.stage = 'first' AND earlier.undoes IS NULL AND earlier.id < second.id
      AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = earlier.id)
    ORDER BY earlier.id DESC
    LIMIT 1
) AS first ON true
JOIN nightreel.prompts AS prompt ON prompt.id = second.prompt_id
JOIN nightreel.users AS one ON one.id = first.user_id
JOIN nightreel.users AS other ON other.id = second.user_id
WHERE second.stage = 'second' AND second.undoes IS NULL
  AND NOT EXISTS (SELECT FROM nightreel.decisions AS undone WHERE undone.undoes = second.id);
