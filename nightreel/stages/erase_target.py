"""What an erasure is about: the versions that a key, a path or the SHA-256 of a content means, and their copies."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from nightreel.database.erasures import KnownVersion, versions_of_contents, versions_of_key
from nightreel.database.legal_holds import holds_of
from nightreel.database.tombstones import erasures_of
from nightreel.domain import TombstoneKey
from nightreel.storage import uri_of

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """What may name erased videos elsewhere: their keys and the hashes of their bytes."""

    uris: tuple[str, ...]
    contents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a person wants to erase.

    Args:
        uri, content_sha256: as it was named; one of them.
        versions: of the object, or of all objects with this content.
        copies: versions of other objects with the same bytes.
        erased_by: numbers of earlier erasures of it.
    """

    uri: str | None
    content_sha256: str | None
    versions: Sequence[KnownVersion]
    copies: Sequence[KnownVersion]
    erased_by: Sequence[int] = ()

    @property
    def mention(self) -> Mention:
        """How it was named."""
        return Mention(
            uris=(self.uri,) if self.uri else (), contents=(self.content_sha256,) if self.content_sha256 else ()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasurePreview:
    """What an erasure would be about.

    Args:
        objects, versions: of what was named. copies: other objects with the same bytes. holds: those that block it,
            with their reasons. digest: names exactly these versions.
    """

    objects: int
    versions: int
    copies: int
    holds: Mapping[int, str]
    digest: str


def find_target(connection: Connection, named: str, key: TombstoneKey | None) -> Target:
    """What a key, a path or the SHA-256 of a content means.

    Args:
        named: 64 hexadecimal digits are a content.
    """
    if _SHA256.fullmatch(named):
        versions = versions_of_contents(connection, [named])
        erased = erasures_of(connection, [key.of_content(named)]) if key else []
        return Target(uri=None, content_sha256=named, versions=versions, copies=(), erased_by=erased)
    uri = uri_of(named)
    versions = versions_of_key(connection, uri)
    contents = {one.content_sha256 for one in versions if one.content_sha256}
    copies = [one for one in versions_of_contents(connection, contents) if one.uri != uri]
    erased = erasures_of(connection, [key.of_object(uri)]) if key else []
    return Target(uri=uri, content_sha256=None, versions=versions, copies=copies, erased_by=erased)


def preview_erasure(connection: Connection, target: Target) -> ErasurePreview:
    """What erasing a target would be about. It changes nothing."""
    return ErasurePreview(
        objects=len({one.uri for one in target.versions}),
        versions=len(target.versions),
        copies=len({one.uri for one in target.copies}),
        holds=holds_of(connection, [one.id for one in (*target.versions, *target.copies)]),
        digest=digest_of(target),
    )


def digest_of(target: Target) -> str:
    """Names exactly the versions of a target and their copies."""
    ids = [[one.id for one in versions] for versions in (target.versions, target.copies)]
    return hashlib.sha256(repr(ids).encode()).hexdigest()
