"""Erasures, legal holds and golden items from a notebook or a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nightreel.client.review import Send


class Admin:
    """What admins ask for: `client.admin`, with a token of the scope `admin`. Its methods raise `ServiceError`.

    A process of the worker's role carries requests out, every five minutes. `client.review.request` tells what became
    of one.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    def preview_erasure(self, what: str) -> dict[str, Any]:
        """What erasing a video would be about: `objects`, `versions`, `copies`, `holds` and the `digest` of these.

        Args:
            what: the URI of an object, or the SHA-256 of a content.
        """
        found: dict[str, Any] = self._send("POST", "requests/erasures/preview", {"what": what})
        return found

    def erase(self, what: str, *, reason: str, digest: str, all_copies: bool = False) -> int:
        """Ask to erase all that is known of a video. Returns the number of the request.

        Args:
            digest: of the preview. all_copies: the same bytes under other keys, too.
        """
        body = {"what": what, "reason": reason, "digest": digest, "all_copies": all_copies}
        return self._ask("erasures", body)

    def hold(self, what: str, *, reason: str) -> int:
        """Ask to hold a video: nothing erases it. Returns the number of the request."""
        return self._ask("holds", {"what": what, "reason": reason})

    def end_hold(self, hold_id: int) -> int:
        """Ask to end a legal hold. Returns the number of the request."""
        return self._ask(f"holds/{int(hold_id)}/end")

    def golden(self) -> list[dict[str, Any]]:
        """The golden items that people get."""
        found: list[dict[str, Any]] = self._send("GET", "golden", None)["items"]
        return found

    def add_golden(self, video_id: int, labels: Mapping[str, bool]) -> int:
        """Ask to keep a video as a golden item. Returns the number of the request.

        Args:
            labels: whether each is right, by its name or SET/NAME.
        """
        return self._ask("golden", {"video_id": video_id, "labels": dict(labels)})

    def end_golden(self, golden_id: int) -> int:
        """Ask to give a golden item to nobody any more. Returns the number of the request."""
        return self._ask(f"golden/{int(golden_id)}/end")

    def _ask(self, path: str, body: Mapping[str, Any] | None = None) -> int:
        return int(self._send("POST", f"requests/{path}", body)["request_id"])
