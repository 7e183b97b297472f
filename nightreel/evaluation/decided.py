"""Right answers from what people decided, in place of a file. It reads the database and nothing else does here."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection

from nightreel.database.statements import statement
from nightreel.domain.cases import Ruling
from nightreel.errors import SettingsError
from nightreel.evaluation.labels import Label

_OTHER = {"yes": "no", "no": "yes"}


def decided_labels(connection: Connection, source: str, *, prompts: Collection[str]) -> list[Label]:
    """The decisions that stand about yes/no prompts, as right answers. Those of which people are unsure are left out.

    Args:
        source: URL below which the videos are. prompts: names of those that are asked.

    Raises:
        SettingsError: there is no such decision.
    """
    below = f"{source.rstrip('/')}/"
    rows = connection.execute(statement("decided_labels"), {"below": below, "prompts": sorted(prompts)}).all()
    if not rows:
        raise SettingsError(f"nobody decided a yes/no prompt of these sets about a video below {source}")
    return [
        Label(
            file=row.uri.removeprefix(below),
            prompt=row.prompt,
            answer=row.flag if row.ruling == Ruling.CONFIRM else _OTHER[row.flag],
            line=row.decision_id,
        )
        for row in rows
        if row.flag in _OTHER
    ]
