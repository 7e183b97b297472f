"""Show: after the current recipe of a source has changed, choose again which answers are on show. No model is asked.

It works in batches of videos, one transaction each, and continues where it was cut off.
"""

from __future__ import annotations

from collections.abc import Callable

from nightreel.database.connection import Database
from nightreel.database.current_recipes import lock_switch, pending_switches, record_switch, videos_below
from nightreel.database.documents import index_videos
from nightreel.database.policies import policies_in_force
from nightreel.database.rejudging import prompts_of_set
from nightreel.database.verdicts import choose_shown, roll_up_videos
from nightreel.domain import Level, PromptSet

_VIDEOS = 500


def show_current(database: Database, *, on_progress: Callable[[str, int], None] = lambda *_: None) -> int:
    """Choose the answers on show where a recipe became current. Returns the number of videos that show others now.

    Args:
        on_progress: called after each batch with the source and the number of videos so far.
    """
    with database.begin() as connection:
        switches = pending_switches(connection)
    changed = 0
    for switch in switches:
        seen = 0
        while True:
            with database.begin() as connection:
                after = lock_switch(connection, switch)
                if after is None:
                    break
                videos = videos_below(connection, switch.source, after=after, limit=_VIDEOS)
                others = choose_shown(connection, videos, [switch.set_name])
                prompts = prompts_of_set(connection, switch.set_name)
                # Answers about whole videos are chosen by the roll-up.
                is_whole = any(prompt.question.level is Level.VIDEO for prompt in prompts.values())
                rolled = videos if is_whole else others
                roll_up_videos(
                    connection,
                    rolled,
                    PromptSet(switch.set_name, tuple(prompts.values())),
                    prompt_ids={prompt.name: prompt_id for prompt_id, prompt in prompts.items()},
                    policies=policies_in_force(connection, prompts),
                )
                index_videos(connection, rolled)
                record_switch(connection, switch, videos[-1] if len(videos) == _VIDEOS else None)
            changed += len(others)
            seen += len(videos)
            on_progress(switch.source, seen)
    return changed
