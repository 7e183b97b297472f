"""The sides of the storage benchmark. Each runs in its own process; the environment has the server's URL."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import botocore.session
from s3fs import S3FileSystem

import nightreel.storage.s3  # noqa: F401  (imports are not measured, and `open_storage` imports this module lazily)
from nightreel.settings import load_settings
from nightreel.storage import open_storage

_BLOCK_BYTES = 1 << 20


def our_listing(url: str) -> int:
    return sum(len(page) for page in open_storage(url, load_settings()).list_pages())


def bare_paginator(url: str) -> int:
    pages = _client().get_paginator("list_objects_v2").paginate(Bucket=url.removeprefix("s3://"))
    return sum(len(page["Contents"]) for page in pages)


def s3fs_find(url: str) -> int:
    return len(_s3fs().find(url, detail=True))


def our_fetch(url: str) -> str:
    storage = open_storage(url, load_settings())
    ((item,),) = storage.list_pages()
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "out"
        return storage.fetch(item.uri, etag=item.etag, destination=target, max_bytes=10**12).content_sha256


def s3fs_get_file(url: str) -> str:
    files = _s3fs()
    (name,) = files.find(url)
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "out"
        files.get_file(name, str(target))
        with target.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def plain_stream(url: str) -> str:
    client = _client()
    bucket = url.removeprefix("s3://")
    (entry,) = client.list_objects_v2(Bucket=bucket)["Contents"]
    body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"]
    sha256 = hashlib.sha256()
    with tempfile.NamedTemporaryFile() as file:
        for block in body.iter_chunks(_BLOCK_BYTES):
            sha256.update(block)
            file.write(block)
    return sha256.hexdigest()


def _client():
    return botocore.session.Session().create_client("s3", endpoint_url=os.environ["NIGHTREEL_S3_ENDPOINT_URL"])


def _s3fs() -> S3FileSystem:
    return S3FileSystem(endpoint_url=os.environ["NIGHTREEL_S3_ENDPOINT_URL"])
