"""Find: the first page."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from nightreel.console.access import AsViewer
from nightreel.console.rendering import render


def add_find(router: APIRouter) -> None:
    """Add the routes."""
    router.add_api_route("/", _find, methods=["GET"])


def _find(request: Request, visitor: AsViewer) -> Response:  # noqa: ARG001 - who may call it
    return render(request, "find.html")
