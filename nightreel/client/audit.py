"""Audits from a notebook or a program: what the machine missed, and how far people agree."""

from __future__ import annotations

from typing import Any

from nightreel.client.review import Send


class Audit:
    """What audits say, for leads: `client.audit`. Its methods raise `ServiceError`."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def misses(self) -> list[dict[str, Any]]:
        """The open audits. `misses`: missed items, prevalence, recall and their intervals; None: too few decisions."""
        found: list[dict[str, Any]] = self._send("GET", "audit", None)["audits"]
        return found

    def calibration(self, audit_id: int) -> dict[str, Any]:
        """The reliability table of an audit (`bins`), and its calibration error (`error`)."""
        found: dict[str, Any] = self._send("GET", f"audit/{int(audit_id)}/calibration", None)
        return found

    def agreement(self) -> list[dict[str, Any]]:
        """How far two people agree, with Krippendorff's `alpha`."""
        found: list[dict[str, Any]] = self._send("GET", "audit/agreement", None)["prompts"]
        return found

    def reviewers(self) -> list[dict[str, Any]]:
        """How often each reviewer is right about golden items."""
        found: list[dict[str, Any]] = self._send("GET", "audit/reviewers", None)["reviewers"]
        return found

    def preview_threshold(self, prompt_id: int, *, threshold: float, doubt: float) -> dict[str, Any]:
        """What a threshold would do: flags `gained` and `lost`, `other` verdicts, `examples`, and the `policy_id`."""
        body = {"prompt_id": prompt_id, "threshold": threshold, "doubt": doubt}
        found: dict[str, Any] = self._send("POST", "requests/thresholds/preview", body)
        return found

    def move_threshold(self, prompt_id: int, *, threshold: float, doubt: float, policy_id: int) -> int:
        """Ask for a threshold to come into force. `policy_id`: of the preview. Returns the number of the request."""
        body = {"prompt_id": prompt_id, "threshold": threshold, "doubt": doubt, "policy_id": policy_id}
        return int(self._send("POST", "requests/thresholds", body)["request_id"])
