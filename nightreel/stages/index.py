"""Index: make the documents that search reads, where an upgrade or other languages ask for all of them.

It works in batches of videos, one transaction each, and continues where it was cut off. New answers are indexed when
they are written (`stages.judge`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nightreel.database.connection import Database
from nightreel.database.documents import index_videos, is_indexed, lock_index, record_index, set_languages
from nightreel.database.judged_answers import videos_with_segments

logger = logging.getLogger(__name__)

_VIDEOS = 500


def index_documents(database: Database, *, languages: Sequence[str] | None = None) -> int:
    """Index all videos that are not. Returns their number.

    Args:
        languages: whose forms of words are found (`database.documents.set_languages`); None: those of before.

    Raises:
        SettingsError: Postgres has no dictionary for one of the languages.
    """
    with database.begin() as connection:
        if languages is not None:
            set_languages(connection, languages)
        if is_indexed(connection):
            return 0
    indexed = 0
    while True:
        with database.begin() as connection:
            after = lock_index(connection)
            if after is None:
                return indexed
            videos = videos_with_segments(connection, after=after, limit=_VIDEOS)
            index_videos(connection, videos)
            record_index(connection, videos[-1] if len(videos) == _VIDEOS else None)
        indexed += len(videos)
        logger.info("search: %d videos indexed", indexed)
