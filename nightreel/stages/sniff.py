"""Sniff: look into new objects whose file name ending belongs to videos and to text, before they become work.

`.ts` is an MPEG transport stream or TypeScript. Source code is no failed video: it gets no row. `discover` and `sweep`
call this for each page of a listing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nightreel.database.connection import Database
from nightreel.database.discovery import ListingFilter, unknown_uris
from nightreel.domain import StoredObject
from nightreel.errors import NightreelError, TransientError
from nightreel.reasons import Scope
from nightreel.storage import Storage

# Transport streams; TypeScript and Qt's translations | program streams of camcorders; Fortran | .ps: PostScript
_SHARED = (".ts", ".mts", ".mod", ".dat", ".ps")
_START_BYTES = 1024  # five packets of a transport stream
_AT_ONCE = 16
_NAMED = 3
_CONTROLS = frozenset({*range(32), 0x7F} - set(b"\t\n\r\f\x1b"))
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

logger = logging.getLogger(__name__)


def is_text(start: bytes) -> bool:
    r"""Whether the start of a file is text: it has no control characters, or is marked as UTF-16.

    Every video container has some within its first packets, and so have encrypted ones.

    >>> is_text(b"import { a } from './b';\n"), is_text(b"\x47\x40\x11\x10\x00\x42"), is_text(b"")
    (True, False, False)
    """
    if start.startswith(_UTF16):
        start = start.decode("utf-16", "ignore").encode("utf-8", "ignore")
    return bool(start) and not _CONTROLS.intersection(start)


@dataclass(frozen=True, kw_only=True)
class Sniffing:
    """The sniffing of one run."""

    source: Storage
    database: Database
    admit: ListingFilter
    _out_of_order: threading.Event = field(default_factory=threading.Event)

    def without_text(self, page: Sequence[StoredObject]) -> list[StoredObject]:
        """The objects of a page, without new ones that are text under a video's ending.

        An object that cannot be read is kept: its own claim finds out why.

        Raises:
            NightreelError: the database failed, or the store refuses the keys.
        """
        shared = [item for item in page if item.uri.lower().endswith(_SHARED) and self.admit.admits(item)]
        if not shared:
            return list(page)
        with self.database.begin() as connection:
            unknown = unknown_uris(connection, [item.uri for item in shared])
        self._out_of_order.clear()
        with ThreadPoolExecutor(_AT_ONCE, "sniff") as threads:
            new = [item.uri for item in shared if item.uri in unknown]
            texts = {uri for uri, found in zip(new, threads.map(self._is_text, new), strict=True) if found}
        if texts:
            names = ", ".join(repr(uri) for uri in sorted(texts)[:_NAMED])
            more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
            logger.warning("skipped in the listing: text under a video's ending: %s%s", names, more)
        return [item for item in page if item.uri not in texts]

    def _is_text(self, uri: str) -> bool:
        if self._out_of_order.is_set():
            return False
        try:
            return is_text(self.source.read_start(uri, most_bytes=_START_BYTES))
        except TransientError:
            self._out_of_order.set()  # the rest of the page does not wait for the store too
            return False
        except NightreelError as error:
            if error.reason.scope is Scope.RUN:
                raise
            return False
