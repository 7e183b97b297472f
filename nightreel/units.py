"""Sizes, durations and counts as people read them: 2.7 MiB, 20 s, 1 video.

Messages and tables use it; JSON has plain numbers.
"""

from __future__ import annotations


def human_bytes(count: int) -> str:
    """A size for people.

    >>> human_bytes(512), human_bytes(57344), human_bytes(16_492_674_417)
    ('512 B', '56.0 KiB', '15.4 GiB')
    """
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def human_seconds(seconds: float) -> str:
    """A duration for people.

    >>> [human_seconds(value) for value in (0, 0.0421, 2.54, 20.0, 59.7, 125, 3700, 200_000)]
    ['0 s', '0.042 s', '2.5 s', '20 s', '1 min', '2 min 5 s', '1 h 1 min', '2 d 7 h']
    """
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    parts = ((whole // 86_400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def counted(count: int, noun: str) -> str:
    """A count with its noun.

    >>> counted(1, "shard"), counted(1200, "shard")
    ('1 shard', '1,200 shards')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
