"""Digests of large files are remembered and never used for a changed file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from nightreel.models.checkpoints import digests
from nightreel.models.checkpoints.digests import FileDigests

_OLD_S = 1_600_000_000


@pytest.fixture(autouse=True)
def _small_files_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_WORTH_REMEMBERING_BYTES", 4)
    monkeypatch.setattr(digests, "_SETTLED_NS", 0)


def _count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    reads: list[str] = []
    read = hashlib.file_digest

    def counted(stream, name):
        reads.append(stream.name)
        return read(stream, name)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    return reads


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    reads = _count_reads(monkeypatch)
    found = {FileDigests(tmp_path / "known.json").sha256(file) for _ in range(3)}
    assert found == {hashlib.sha256(b"weights").hexdigest()}
    assert len(reads) == 1


def test_a_changed_file_is_read_again_even_with_its_old_time(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    os.utime(file, (_OLD_S, _OLD_S))
    FileDigests(tmp_path / "known.json").sha256(file)
    file.write_bytes(b"weighty")
    os.utime(file, (_OLD_S, _OLD_S))
    assert FileDigests(tmp_path / "known.json").sha256(file) == hashlib.sha256(b"weighty").hexdigest()


def test_a_recently_changed_file_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED_NS", 60_000_000_000)
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    FileDigests(tmp_path / "known.json").sha256(file)
    assert not (tmp_path / "known.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"other": 3}'])
def test_a_damaged_digest_file_costs_only_time(tmp_path: Path, text: str) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"weights")
    (tmp_path / "known.json").write_text(text)
    assert FileDigests(tmp_path / "known.json").sha256(file) == hashlib.sha256(b"weights").hexdigest()
