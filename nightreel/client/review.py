"""Review from a notebook or a program: take cases and decide them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

Ruling = Literal["confirm", "reject", "unsure", "escalate"]
Send = Callable[[str, str, Mapping[str, Any] | None], Any]
"""Sends a request: method, path, JSON body. Returns the JSON of the answer."""


class Review:
    """The queues and cases that the user of a token works on: `client.review`. Its methods raise `ServiceError`.

    Cases are dicts: `case_id`, `version`, `state`, `videos`, `findings`, `seconds_left` and more.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    def queues(self) -> list[dict[str, Any]]:
        """The queues, with the number of cases that wait."""
        found: list[dict[str, Any]] = self._send("GET", "queues", None)["queues"]
        return found

    def take_next(self, queue: str) -> dict[str, Any] | None:
        """Take the next case of a queue, or get the one that the user has; None: there is nothing to decide."""
        return self._case("POST", f"queues/{quote(queue, safe='')}/take")

    def case(self, case_id: int) -> dict[str, Any]:
        """A case as it is now."""
        return self._case("GET", f"cases/{int(case_id)}") or {}

    def take(self, case_id: int) -> dict[str, Any]:
        """Take this case."""
        return self._on_case(case_id, "take")

    def extend(self, case_id: int) -> dict[str, Any]:
        """Start the time of a case again."""
        return self._on_case(case_id, "extend")

    def release(self, case_id: int) -> dict[str, Any]:
        """Give a case back."""
        return self._on_case(case_id, "release")

    def skip(self, case_id: int) -> dict[str, Any]:
        """Give a case back, and do not get it again."""
        return self._on_case(case_id, "skip")

    def hold(self, case_id: int, until: datetime) -> dict[str, Any]:
        """Give a case back, and let nobody get it from the queue before a time; UTC without a time zone."""
        return self._on_case(case_id, "hold", {"until": until.isoformat()})

    def assign(self, case_id: int, to: str | None) -> dict[str, Any]:
        """Keep a case for one person; None: for nobody."""
        return self._on_case(case_id, "assign", {"to": to})

    def appeal(self, case_id: int, reason: str) -> dict[str, Any]:
        """Reopen a closed case."""
        return self._on_case(case_id, "appeal", {"reason": reason})

    def decide(
        self, case: Mapping[str, Any], ruling: Ruling, *, note: str = "", but: Mapping[str, Ruling] | None = None
    ) -> dict[str, Any]:
        """Decide all labels of a case that wait. Returns `batch_id`, `state` and the number of `decisions`.

        Args:
            case: as it was looked at.
            but: other rulings, by the name of a tag, or of a prompt.
        """
        others = but or {}
        rulings = [
            {
                "prompt_id": one["prompt_id"],
                "tag": one["tag"],
                "ruling": others.get(one["tag"] or one["prompt"], ruling),
                "note": note,
            }
            for one in case["findings"]
            if one["to_decide"]
        ]
        body = {"version": case["version"], "rulings": rulings}
        done: dict[str, Any] = self._send("POST", f"cases/{int(case['case_id'])}/decisions", body)
        return done

    def undo(self, batch_id: str) -> dict[str, Any]:
        """Undo decisions that were made together."""
        done: dict[str, Any] = self._send("POST", f"decisions/{quote(batch_id, safe='')}/undo", None)
        return done

    def history(self, case_id: int) -> list[dict[str, Any]]:
        """What happened to a case, the oldest first."""
        found: list[dict[str, Any]] = self._send("GET", f"cases/{int(case_id)}/history", None)["history"]
        return found

    def request(self, request_id: int) -> dict[str, Any]:
        """For leads: what became of a request of `client.admin` or `client.audit`: its `outcome`; None: it waits."""
        found: dict[str, Any] = self._send("GET", f"requests/{int(request_id)}", None)
        return found

    def preview_bulk(self, queue: str, **conditions: Any) -> dict[str, Any]:
        """What a decision in bulk would hit. `conditions`: category, prompt, tag, found, min_p, under and more."""
        found: dict[str, Any] = self._send("POST", "bulk/preview", {"queue": queue} | conditions)
        return found

    def decide_bulk(
        self, queue: str, ruling: Ruling, *, digest: str, note: str = "", **conditions: Any
    ) -> dict[str, Any]:
        """Decide all that a preview with these conditions has shown. `digest`: of the preview."""
        body = {"queue": queue, "ruling": ruling, "note": note, "digest": digest} | conditions
        done: dict[str, Any] = self._send("POST", "bulk", body)
        return done

    def _on_case(self, case_id: int, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._case("POST", f"cases/{int(case_id)}/{what}", body) or {}

    def _case(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        case: dict[str, Any] | None = self._send(method, path, body)["case"]
        return case
