-- What a person sees of a video before any moving picture: its segments with captions, those with an answer of
-- `wanted_answers` first. A function, because PL/pgSQL keeps the plan of its statement for as long as a connection lives:
-- planning the view anew takes ten times as long as running it, and a connection pooler allows no prepared statements.
-- Rights and restricted videos are those of the caller.
CREATE OR REPLACE FUNCTION nightreel.scenes_of_video(wanted_video bigint, wanted_answers bigint[], most integer)
RETURNS TABLE (
    segment integer,
    start_s double precision,
    end_s double precision,
    caption text,
    prompts text[],
    has_sheet boolean,
    restricted boolean
)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT answer.segment,
           min(answer.start_s),
           max(answer.end_s),
           string_agg(DISTINCT answer.answer, ' ') FILTER (WHERE answer.kind = 'caption'),
           array_agg(DISTINCT answer.prompt) FILTER (WHERE answer.answer_id = ANY (wanted_answers)),
           bool_or(answer.thumbnail_uri IS NOT NULL),
           bool_or(answer.restricted)
    FROM reporting.answers AS answer
    WHERE answer.video_id = wanted_video
      AND answer.due
      AND (answer.kind = 'caption' OR answer.answer_id = ANY (wanted_answers))
    GROUP BY answer.segment
    ORDER BY count(*) FILTER (WHERE answer.answer_id = ANY (wanted_answers)) = 0, answer.segment
    LIMIT most;
END
$$;
