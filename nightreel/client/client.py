"""The client and its pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import pyarrow as pa

from nightreel.client.admin import Admin
from nightreel.client.audit import Audit
from nightreel.client.errors import checked, reached
from nightreel.client.review import Review
from nightreel.client.tables import HITS, table_of

_PREFIX = "/api/v1"
_PAGE = 1000
_HITS = 200
Kind = Literal["caption", "text", "yes_no", "number", "choice", "tags"]
SearchBy = Literal["words", "meaning", "both"]


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG. A notebook shows it."""

    jpeg: bytes = field(repr=False)

    def _repr_jpeg_(self) -> bytes:
        return self.jpeg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JPEG to a file."""
        Path(path).write_bytes(self.jpeg)


class Client:
    """One service and one token. Close it, or use it in a `with` block. Its methods raise `ServiceError`.

    Methods of views have these arguments:
        filters: conditions on columns, all of which must hold: "prompt=gore", "severity>=3".
        under: only videos whose key starts with this.
        columns: names; None: all.
        limit: most rows; None: all.

    `review` has the queues and cases (`nightreel.client.review.Review`), `audit` how far machine and people can be
    trusted (`nightreel.client.audit.Audit`), `client.admin` erases (`nightreel.client.admin.Admin`).

    Args:
        url: of the service, such as http://127.0.0.1:4280.
        token: as `nightreel tokens add` printed it.
        timeout_s: of a request, seconds. Questions have no limit.
    """

    def __init__(self, url: str, token: str, *, timeout_s: float = 60.0) -> None:
        self._http = httpx.Client(
            base_url=url.rstrip("/").removesuffix(_PREFIX) + _PREFIX,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_s,
        )
        self.review = Review(self._send)
        self.audit = Audit(self._send)
        self.admin = Admin(self._send)

    def __repr__(self) -> str:
        return f"Client({str(self._http.base_url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- rows ----------------------------------------------------------------------------------------------------

    def views(self) -> dict[str, list[str]]:
        """The names of all views, each with its columns."""
        found = self._json("views")["views"]
        return {view: [column["name"] for column in columns] for view, columns in found.items()}

    def videos(self, **query: Any) -> pa.Table:
        """Videos, each with its newest analysis. Arguments: see the class."""
        return self.rows("videos", **query)

    def segments(self, **query: Any) -> pa.Table:
        """Segments, with the times of their sampled frames. Arguments: see the class."""
        return self.rows("segments", **query)

    def answers(self, **query: Any) -> pa.Table:
        """Answers on show: one for each segment and prompt. Arguments: see the class."""
        return self.rows("answers", **query)

    def verdicts(self, **query: Any) -> pa.Table:
        """What the answers say about each video. Arguments: see the class."""
        return self.rows("verdicts", **query)

    def flags(self, **query: Any) -> pa.Table:
        """What crossed a line, and what could not be judged. Arguments: see the class."""
        return self.rows("flags", **query)

    def cases(self, **query: Any) -> pa.Table:
        """What people judge: one content in one queue. Arguments: see the class."""
        return self.rows("cases", **query)

    def decisions(self, **query: Any) -> pa.Table:
        """What people decided, with pseudonyms. Arguments: see the class."""
        return self.rows("decisions", **query)

    def dsa(self, **query: Any) -> pa.Table:
        """Confirmed labels as statements of reasons of the DSA. Arguments: see the class."""
        return self.rows("dsa", **query)

    def views_seen(self, **query: Any) -> pa.Table:
        """Who saw what, with pseudonyms. Arguments: see the class."""
        return self.rows("views_seen", **query)

    def legal_holds(self, **query: Any) -> pa.Table:
        """What must not be erased. Arguments: see the class."""
        return self.rows("legal_holds", **query)

    def erasures(self, **query: Any) -> pa.Table:
        """What was erased: when, by whom and how much. Arguments: see the class."""
        return self.rows("erasures", **query)

    def coverage(self, **query: Any) -> pa.Table:
        """What was asked of how many videos. Arguments: see the class."""
        return self.rows("coverage", **query)

    def wide(self, prompt_set: str, **query: Any) -> pa.Table:
        """Videos, with a column for each prompt of a set that is asked now. Arguments: see the class."""
        return self.rows(f"wide_{prompt_set}", **query)

    def rows(
        self,
        view: str,
        *,
        filters: Sequence[str] = (),
        under: str | None = None,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """The rows of a view, all pages of them. Arguments: see the class; `view`: a name of `views`."""
        parameters: dict[str, Any] = {"filter": list(filters)}
        if under is not None:
            parameters["under"] = under
        if columns is not None:
            parameters["columns"] = ",".join(columns)
        rows: list[dict[str, Any]] = []
        while True:
            left = _PAGE if limit is None else min(_PAGE, limit - len(rows))
            page = self._json(view, parameters | {"limit": max(1, left)})
            rows += page["rows"]
            if page["next"] is None or (limit is not None and len(rows) >= limit):
                return table_of(rows[:limit], page["columns"])
            parameters["after"] = page["next"]

    def video(self, video_id: int) -> dict[str, Any]:
        """One video."""
        video: dict[str, Any] = self._json(f"videos/{int(video_id)}")["video"]
        return video

    def search(
        self,
        text: str | None = None,
        *,
        by: SearchBy = "words",
        like: tuple[int, int] | None = None,
        prompt: str | None = None,
        verdict: str | None = None,
        min_severity: int | None = None,
        min_p: float | None = None,
        model: str | None = None,
        run_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        under: str | None = None,
        min_duration_s: float | None = None,
        max_duration_s: float | None = None,
        from_s: float | None = None,
        to_s: float | None = None,
        newest: bool = False,
        limit: int = 100,
    ) -> pa.Table:
        """The moments whose texts have words, or whose frames look like a description: one row for each segment.

        The best come first. By meaning, the service ranks the 100 nearest.

        Args:
            text: words, all wanted: red van, "in a row", van OR truck, -night, bicyc*.
            by: compare the text with words of answers, by its meaning with the frames, or both.
            like: id of a video and number of a segment, without `text`: what looks like it.
            prompt, verdict, min_severity, min_p, model, run_id: of a verdict on the segment.
            since, until: when the object was last modified; UTC without an offset.
            under: only videos whose key starts with this.
            min_duration_s, max_duration_s: length of the video.
            from_s, to_s: only segments with a part between these seconds of the video.
            newest: the newest videos first.
            limit: most rows.
        """
        given = {
            "prompt": prompt,
            "verdict": verdict,
            "min_severity": min_severity,
            "min_p": min_p,
            "model": model,
            "run_id": run_id,
            "since": since and since.isoformat(),
            "until": until and until.isoformat(),
            "under": under,
            "min_duration_s": min_duration_s,
            "max_duration_s": max_duration_s,
            "from_s": from_s,
            "to_s": to_s,
        }
        parameters = {name: value for name, value in given.items() if value is not None}
        parameters |= {"by": by, "newest": newest}
        if text is not None:
            parameters["q"] = text
        if like is not None:
            parameters |= {"like_video": like[0], "like_segment": like[1]}
        hits: list[dict[str, Any]] = []
        while True:
            page = self._json("search", parameters | {"limit": max(1, min(_HITS, limit - len(hits)))})
            hits += page["hits"]
            if page["next"] is None or len(hits) >= limit:
                return pa.table({name: [hit[name] for hit in hits[:limit]] for name in HITS.names}, schema=HITS)
            parameters["after"] = page["next"]

    # -- pictures and files --------------------------------------------------------------------------------------

    def thumbnail(self, video_id: int, *, segment: int = 0) -> Picture:
        """All sampled frames of a segment in one picture."""
        return Picture(self._get(f"videos/{int(video_id)}/thumbnail", {"segment": segment}).content)

    def frame(self, video_id: int, *, segment: int = 0, frame: int = 0) -> Picture:
        """One sampled frame of a segment, decoded again from the video."""
        return Picture(self._get(f"videos/{int(video_id)}/segments/{int(segment)}/frames/{int(frame)}.jpg").content)

    def frames(self, video_id: int, *, segment: int = 0) -> list[Picture]:
        """The sampled frames of a segment, in the order of time."""
        found = self.rows("segments", filters=[f"video_id={int(video_id)}", f"segment={int(segment)}"])
        times_s = found["frame_times_s"][-1].as_py() if len(found) else []
        return [self.frame(video_id, segment=segment, frame=number) for number in range(len(times_s))]

    def export(
        self,
        view: str,
        path: str | os.PathLike[str],
        *,
        filters: Sequence[str] = (),
        under: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> Path:
        """Write all rows of a view to a file: .csv, .jsonl or .parquet. After an error, nothing is left of it."""
        target = Path(path)
        parameters: dict[str, Any] = {"filter": list(filters), "format": target.suffix.removeprefix(".") or "csv"}
        if under is not None:
            parameters["under"] = under
        if columns is not None:
            parameters["columns"] = ",".join(columns)
        part = target.with_name(f".{target.name}.part")
        try:
            with reached(), self._http.stream("GET", f"exports/{view}", params=parameters) as reply:
                checked(reply)
                with part.open("wb") as out:
                    for chunk in reply.iter_bytes():
                        out.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    # -- questions -----------------------------------------------------------------------------------------------

    def ask(
        self,
        path: str | os.PathLike[str],
        question: str,
        *,
        kind: Kind = "text",
        choices: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Ask one question about one video or image. Returns an answer for each segment; an image has one.

        Args:
            choices: the allowed answers, for choice and tags.
        """
        form = {"question": question, "kind": kind, "choice": list(choices)}
        with Path(path).open("rb") as file, reached():
            reply = self._http.post("ask", data=form, files={"file": (Path(path).name, file)}, timeout=None)
        answers: list[dict[str, Any]] = checked(reply).json()["answers"]
        return answers

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        with reached():
            return checked(self._http.request(method, path, json=body)).json()

    def _json(self, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        return self._get(path, parameters).json()

    def _get(self, path: str, parameters: Mapping[str, Any] | None = None) -> httpx.Response:
        with reached():
            return checked(self._http.get(path, params=dict(parameters or {})))
