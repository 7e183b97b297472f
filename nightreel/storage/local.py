"""A directory as object storage: an ordered walk, copies with a hash, create-only publishing.

Made by `open_storage`. A uri is `file://` + the absolute path, percent-encoded byte by byte. So Postgres can store any
name that the filesystem allows (newlines, quotes, bytes that are not UTF-8).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from nightreel.domain import StoredObject
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.host_errors import host_error
from nightreel.private import private_directory, private_opener
from nightreel.reasons import Reason
from nightreel.storage.base import Fetched, PublishedObject, Storage, checked_name, outside, too_large, warn_skipped
from nightreel.storage.beneath import RefusedError, examine, open_file, why_not_a_file
from nightreel.storage.disk import CACHE, new_file, write_all, write_error
from nightreel.storage.entries import is_possible_date, shown, usable
from nightreel.storage.walk import walk

_SCHEME = "file://"
_BLOCK_BYTES = 1 << 20
_INCOMING = ".incoming"
_ABANDONED_S = 86_400.0
_LINKS_NAMED = 10
_WAY_OUT = ": make that place a source, or set NIGHTREEL_FOLLOW_LINKS=true if nobody else can write here"


class LocalStorage(Storage):
    """The files below a directory, except hidden ones (names that start with a dot).

    Args:
        root: absolute path of the directory.
        follow_links: read files outside the directory too, if a link inside leads to them.
    """

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        self._root = root
        self._follow_links = follow_links
        self._root_bytes = os.fsencode(root).rstrip(b"/")
        super().__init__(_SCHEME + quote_from_bytes(self._root_bytes))
        self._swept = False

    # -- listing -------------------------------------------------------------------------------------------------

    def _pages(
        self, start_after: str | None, page_size: int, on_skipped: Callable[[str], None]
    ) -> Iterator[list[StoredObject]]:
        self.check()
        after = b"" if start_after is None else self._relative(start_after)
        page: list[StoredObject] = []
        left_out = 0
        for name in walk(self._root_bytes, start_after=after, on_skipped=on_skipped):
            path = self._root_bytes + b"/" + unquote_to_bytes(name)
            try:
                status = self._examine_listed(unquote_to_bytes(name))
            except RefusedError as refused:
                left_out += refused.leaves
                if left_out <= _LINKS_NAMED:
                    on_skipped(f"{shown(os.fsdecode(path))} {refused.detail}{_WAY_OUT if refused.leaves else ''}")
                continue
            except FileNotFoundError:
                on_skipped(f"{shown(os.fsdecode(path))} was deleted during the listing")
                continue
            except OSError as error:
                on_skipped(f"{shown(os.fsdecode(path))}: {error.strerror}")
                continue
            item = _object(f"{self.url}/{name}", status)
            if isinstance(item, str):
                on_skipped(f"{shown(os.fsdecode(path))}: {item}")
                continue
            page.append(item)
            if len(page) == page_size:
                yield page
                page = []
        if left_out:
            on_skipped(f"{left_out:,} links below {self._root} lead out of it, and their files are left out{_WAY_OUT}")
        if page:
            yield page

    def _examine_listed(self, name: bytes) -> os.stat_result:
        """The status of a listed file. One call is enough for what is not a link: its directory was just checked."""
        status = os.lstat(self._root_bytes + b"/" + name)
        if not stat.S_ISLNK(status.st_mode):
            if why := why_not_a_file(status):
                raise RefusedError(why)
            return status
        return examine(self._root_bytes, name, follow_links=self._follow_links)

    def check(self) -> None:
        try:
            with os.scandir(self._root):
                os.stat(self._root_bytes + b"/.")  # noqa: PTH116  (a directory may be listed but not entered)
                return
        except FileNotFoundError:
            problem = "the directory does not exist"
        except NotADirectoryError:
            problem = "this is a file; expected a directory"
        except PermissionError:
            raise PermanentError(
                Reason.ACCESS_DENIED,
                f"this user cannot read {self._root}: give it permission to read and enter the directory",
            ) from None
        except OSError as error:
            raise host_error(error, doing=f"{self._root} cannot be read") or TransientError(
                Reason.STORAGE_UNREACHABLE, f"{self._root} cannot be read: {error.strerror}"
            ) from error
        raise PermanentError(Reason.NO_SUCH_SOURCE, f"{self._root}: {problem}; check NIGHTREEL_SOURCE, or mount it")

    # -- reading -------------------------------------------------------------------------------------------------

    def fetch(self, uri: str, *, etag: str | None, destination: Path, max_bytes: int) -> Fetched:
        source = self._open(uri)
        try:
            before = os.fstat(source)
            etag = _etag(before) if etag is None else etag
            _refuse_other_version(uri, listed=etag, status=before)
            if before.st_size > max_bytes:
                raise too_large(uri, before.st_size, max_bytes)
            sha256 = hashlib.sha256()
            offset = 0
            with new_file(destination) as target:
                # do not read until the end: a file that grows faster than it is read has none
                while offset <= before.st_size and (block := self._read_block(source, uri)):
                    sha256.update(block)
                    write_all(target, block, offset)
                    offset += len(block)
                _refuse_other_version(uri, listed=etag, status=os.fstat(source))
                if offset != before.st_size:
                    raise TransientError(Reason.OBJECT_CHANGED, f"{uri}: read {offset} of {before.st_size} bytes")
            return Fetched(path=destination, size_bytes=offset, content_sha256=sha256.hexdigest())
        finally:
            os.close(source)

    def read(self, uri: str, *, max_bytes: int | None = None) -> bytes:
        with os.fdopen(self._open(uri), "rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if max_bytes is not None and size_bytes > max_bytes:
                raise too_large(uri, size_bytes, max_bytes)
            try:
                data = file.read(-1 if max_bytes is None else max_bytes + 1)
            except OSError as error:
                raise self._read_error(error, uri) from error
        if max_bytes is not None and len(data) > max_bytes:  # it grows, or states no size
            raise too_large(uri, len(data), max_bytes)
        return data

    def read_part(self, uri: str, *, etag: str | None, start: int, most_bytes: int) -> bytes:
        with os.fdopen(self._open(uri), "rb") as file:
            if etag is not None:
                _refuse_other_version(uri, listed=etag, status=os.fstat(file.fileno()))
            try:
                file.seek(start)
                return file.read(most_bytes)
            except OSError as error:
                raise self._read_error(error, uri) from error

    def _open(self, uri: str) -> int:
        try:
            return open_file(self._root_bytes, self._relative(uri), follow_links=self._follow_links)
        except RefusedError as refused:
            raise _refusal(refused, uri) from None
        except OSError as error:
            raise self._read_error(error, uri) from error

    def _read_block(self, fd: int, uri: str) -> bytes:
        try:
            return os.read(fd, _BLOCK_BYTES)
        except OSError as error:
            raise self._read_error(error, uri) from error

    def _read_error(self, error: OSError, uri: str) -> NightreelError:
        if of_host := host_error(error, doing=f"{uri} cannot be read"):
            return of_host
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            if not self._root.is_dir():
                return TransientError(Reason.STORAGE_UNREACHABLE, f"{self._root} no longer exists: is it mounted?")
            return PermanentError(Reason.OBJECT_GONE, f"{uri} was deleted since it was listed")
        if error.errno in (errno.EACCES, errno.EPERM):
            try:
                self.check()
            except NightreelError as of_the_source:
                return of_the_source
            return PermanentError(Reason.OBJECT_DENIED, f"this user cannot read {uri}: give it read permission")
        return TransientError(Reason.STORAGE_UNREACHABLE, f"{uri} cannot be read: {error.strerror}")

    def exists(self, uri: str) -> bool:
        return self._examine(uri) is not None

    def find(self, uri: str) -> StoredObject | None:
        status = self._examine(uri)
        if status is None:
            return None
        item = _object(uri, status)
        if isinstance(item, str):
            warn_skipped(f"{shown(uri)}: {item}")
            return None
        return item

    def _examine(self, uri: str) -> os.stat_result | None:
        """The status of a file; None if there is no file of this name."""
        try:
            return examine(self._root_bytes, self._relative(uri), follow_links=self._follow_links)
        except RefusedError as refused:
            if refused.leaves:
                raise _refusal(refused, uri) from None
            return None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._read_error(error, uri) from error

    # -- writing -------------------------------------------------------------------------------------------------

    def publish(self, name: str, data: bytes | Path) -> PublishedObject:
        with self._incoming_file(name, data) as (temporary, path):
            created = _link_if_missing(temporary, path)
            size_bytes = path.lstat().st_size
        return PublishedObject(uri=f"{self.url}/{quote(name)}", size_bytes=size_bytes, created=created)

    def replace(self, name: str, data: bytes) -> PublishedObject:
        with self._incoming_file(name, data) as (temporary, path):
            try:
                temporary.replace(path)
            except IsADirectoryError:
                _put_aside(path, temporary.parent)
                temporary.replace(path)
            _sync_directory(path.parent)
        return PublishedObject(uri=f"{self.url}/{quote(name)}", size_bytes=len(data), created=True)

    @contextmanager
    def _incoming_file(self, name: str, data: bytes | Path) -> Iterator[tuple[Path, Path]]:
        """Yield a hidden file with the data, and the path that it will have. OSErrors in the block are write errors."""
        path = self._root / checked_name(name)
        incoming = self._root / _INCOMING
        temporary = incoming / uuid.uuid4().hex
        try:
            private_directory(incoming)
            self._sweep(incoming)
            try:
                private_directory(path.parent)
            except FileExistsError:  # a file with the name of the directory
                _put_aside(path.parent, incoming)
                private_directory(path.parent)
            _write_synced(temporary, data)
            yield temporary, path
        except OSError as error:
            raise write_error(error, path, CACHE) from error
        finally:
            with suppress(OSError):  # never created, or the directory is gone; a later cleanup removes the rest
                temporary.unlink()

    def delete(self, uri: str) -> bool:
        path = self._root_bytes + b"/" + self._relative(uri)
        try:
            os.unlink(path)  # noqa: PTH108  (bytes: not every name is text)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise write_error(error, uri, CACHE) from error
        return True

    def _sweep(self, incoming: Path) -> None:
        """Remove what killed processes left while publishing, and what was put aside. Runs once."""
        if not self._swept:
            self._swept = True
            for left in incoming.iterdir():
                with suppress(OSError):  # another process may remove it first
                    if time.time() - left.lstat().st_mtime > _ABANDONED_S:
                        if left.is_dir() and not left.is_symlink():
                            shutil.rmtree(left, ignore_errors=True)
                        else:
                            left.unlink()

    def _relative(self, uri: str) -> bytes:
        """The name of `uri` below the root, as bytes."""
        path = unquote_to_bytes(uri.removeprefix(_SCHEME))
        name = path.removeprefix(self._root_bytes + b"/")
        inside = uri.startswith(_SCHEME + "/") and name != path
        if not inside or b"\0" in name or any(part in (b"", b".", b"..") for part in name.split(b"/")):
            raise outside(uri, self.url)
        return name


def _refusal(refused: RefusedError, uri: str) -> PermanentError:
    if refused.leaves:
        return PermanentError(Reason.LINK_LEAVES_SOURCE, f"{uri} {refused.detail}{_WAY_OUT}")
    return PermanentError(Reason.OBJECT_GONE, f"{uri} {refused.detail}, no longer a file")


def _object(uri: str, status: os.stat_result) -> StoredObject | str:
    """The entry of a file in a listing, or why it has none."""
    try:
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
    except (OverflowError, ValueError, OSError):  # more than the 9999 years of a calendar
        modified_at = None
    if modified_at is None or not is_possible_date(modified_at):
        return f"its modification time, {status.st_mtime:.0f} s from 1970, is impossible: `touch` the file"
    return usable(uri, _etag(status), status.st_size, modified_at)


def _etag(status: os.stat_result) -> str:
    """Identity of a file's version: modification time in ns and size, both hex.

    The inode is not part of it, although it would detect `cp -p` of a same-sized file: network and FUSE mounts assign
    new inodes on every mount, and all known videos would look overwritten.
    """
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _refuse_other_version(uri: str, *, listed: str, status: os.stat_result) -> None:
    if _etag(status) != listed:
        raise TransientError(
            Reason.OBJECT_CHANGED, f"{uri} was overwritten since it was listed ({listed} then, {_etag(status)} now)"
        )


def _write_synced(path: Path, data: bytes | Path) -> None:
    with open(path, "xb", opener=private_opener) as target:
        if isinstance(data, Path):
            with data.open("rb") as source:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
        else:
            target.write(data)
        target.flush()
        os.fsync(target.fileno())


def _link_if_missing(temporary: Path, path: Path) -> bool:
    """Link, not rename: `os.link` is atomic and fails if the path exists."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise PermanentError(
                Reason.NO_HARD_LINKS,
                f"the filesystem of {path} does not support hard links, which publishing needs: use another one",
            ) from error
        raise
    _sync_directory(path.parent)
    return True


def _sync_directory(path: Path) -> None:
    """Make names durable: else a power cut may lose one, while Postgres keeps it."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _put_aside(path: Path, incoming: Path) -> None:
    """Move what has the name of something else out of the way. A later cleanup removes it."""
    path.rename(incoming / uuid.uuid4().hex)
