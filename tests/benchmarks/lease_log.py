"""Judge a log of requests, grants and releases: overdrawn memory of any device; waits and idle memory of one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

REPOSSESSED_S = 15.0  # interval at which Prefect releases expired leases


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Args:
    most_mib: the most memory that live processes held at any time.
    asked, served: numbers of requests; a request that a replacement repeats after a kill counts again.
    median_wait_s: of all requests. largest_waits_s: waits for the largest size, longest first.
    idle: idle memory while it fitted a waiting request, as a share of the device over the time in which any request
        waited.
    tempting: the share of that time in which idle memory fitted a waiting request.
    used: held memory, as a share of the device over the whole time.
    """

    most_mib: int
    asked: int
    served: int
    median_wait_s: float
    longest_wait_s: float
    largest_waits_s: tuple[float, ...]
    idle: float
    tempting: float
    used: float
    took_s: float

    @property
    def patience(self) -> float:
        """The longest wait for the largest size over the median of all waits."""
        return self.largest_waits_s[0] / self.median_wait_s


def judge(events: Sequence[dict], *, device_mib: int, lease_s: float) -> Verdict:
    """Read a log in the order of time.

    Memory of a killed process is unavailable until its lease ends, so it does not count as idle. It does not count as
    held either: it has no content.
    """
    waiting: dict[int, dict] = {}
    held: dict[int, dict] = {}
    lapsing: list[tuple[float, int]] = []  # latest end, MiB
    waits: list[tuple[int, float]] = []
    asked = served = most_mib = 0
    idle = tempting = waited = used = 0.0
    lapses = [event["at"] + lease_s + REPOSSESSED_S for event in events if event["event"] == "killed"]
    times = sorted(
        [(event["at"], event) for event in events] + [(at, {"event": "lapsed"}) for at in lapses],
        key=lambda item: item[0],
    )
    start = before = times[0][0]
    end = max(event["at"] for event in events)
    for at, event in times:
        if at > end:
            break
        lapsing = [(until, mib) for until, mib in lapsing if until > before]
        in_use = sum(item["mib"] for item in held.values())
        free = device_mib - in_use - sum(mib for _, mib in lapsing)
        used += in_use * (at - before)
        if waiting:
            waited += at - before
            if any(item["mib"] <= free for item in waiting.values()):
                tempting += at - before
                idle += free * (at - before)
        before = at
        match event["event"]:
            case "asked":
                asked += 1
                waiting[event["number"]] = event
            case "granted":
                served += 1
                waits.append((event["mib"], at - waiting.pop(event["number"])["at"]))
                held[event["number"]] = event
            case "released":
                del held[event["number"]]
            case "killed":
                until = at + lease_s + REPOSSESSED_S
                gone = [number for number, item in held.items() if item["process"] == event["process"]]
                lapsing += [(until, held.pop(number)["mib"]) for number in gone]
                for number in [n for n, item in waiting.items() if item["process"] == event["process"]]:
                    del waiting[number]
                    asked -= 1
        most_mib = max(most_mib, sum(item["mib"] for item in held.values()))
    largest = max(mib for mib, _ in waits)
    return Verdict(
        most_mib=most_mib,
        asked=asked,
        served=served,
        median_wait_s=statistics.median(wait for _, wait in waits),
        longest_wait_s=max(wait for _, wait in waits),
        largest_waits_s=tuple(sorted((wait for mib, wait in waits if mib == largest), reverse=True)),
        idle=idle / (device_mib * max(waited, 1e-9)),
        tempting=tempting / max(waited, 1e-9),
        used=used / (device_mib * (end - start)),
        took_s=end - start,
    )


def most_held(events: Sequence[dict]) -> dict[str, int]:
    """The most MiB of each limit that live processes held at any moment, by a log in the order of time."""
    held: dict[int, dict] = {}
    most: dict[str, int] = {}
    for event in events:
        match event["event"]:
            case "granted":
                held[event["number"]] = event
            case "released":
                del held[event["number"]]
            case "killed":
                held = {number: item for number, item in held.items() if item["process"] != event["process"]}
        for limit in event.get("held", ()):
            most[limit] = max(most.get(limit, 0), sum(item["held"].get(limit, 0) for item in held.values()))
    return most


def unserved(events: Sequence[dict]) -> set[int]:
    """Numbers of the requests that were never granted memory."""
    return {event["number"] for event in events if event["event"] == "asked"} - {
        event["number"] for event in events if event["event"] == "granted"
    }
