"""Texts of searches as vectors, by the dual encoder of the settings."""

from __future__ import annotations

import threading

from sqlalchemy import Connection

from nightreel.database.vectors import used_commit_of_encoder
from nightreel.errors import SettingsError
from nightreel.models.checkpoints.revisions import key
from nightreel.models.embedding import SegmentEncoder, find_encoder, load_encoder
from nightreel.search import TextVector
from nightreel.settings import Settings


class TextEncoder:
    """Loads the encoder at the first text, on the CPU: one text takes some milliseconds there. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._encoder: SegmentEncoder | None = None

    def vector(self, connection: Connection, words: str) -> TextVector:
        """The vector of a text.

        Raises:
            SettingsError: the settings name no encoder.
            NightreelError: as `find_encoder` and `load_encoder`.
        """
        with self._lock:
            if self._encoder is None:
                self._encoder = self._load(connection)
            return TextVector(values=self._encoder.text(words).tolist(), model_hash=self._encoder.spec.hash)

    def _load(self, connection: Connection) -> SegmentEncoder:
        name = self._settings.encoder
        used = {}
        if name is not None and self._settings.embedding_model_revision is None:
            commit = used_commit_of_encoder(connection, name)
            used = {key(name, None): commit} if commit else {}
        found = find_encoder(self._settings, used=used)
        if found is None:
            raise SettingsError(
                "there is no search by meaning: set NIGHTREEL_EMBEDDING_MODEL to the dual encoder that runs use"
            )
        return load_encoder(self._settings, found)
