"""Translate the errors of S3 requests to this project's errors. Used by `s3_bucket.py` and `s3_object.py`.

Messages never hold secrets: they use only the code and message of a reply, and the scheme and host of the endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from botocore import exceptions as boto

from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason

_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.NoAuthTokenError,
    boto.SSOError,
)
_NETWORK = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    aiohttp.ClientError,
    asyncio.TimeoutError,
    OSError,
)
_REFUSED = {
    "AccessDenied": "these keys lack permission: allow them to list, read and, for a cache, write",
    "AllAccessDisabled": "the account is disabled",
    "ExpiredToken": "the session token has expired: renew it",
    "InvalidAccessKeyId": "the server does not know this access key: check AWS_ACCESS_KEY_ID and the endpoint",
    "InvalidToken": "the session token is not valid: check AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "SignatureDoesNotMatch": "key and secret do not match: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
}
_TRY_AGAIN = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown"})
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})


@contextmanager
def translated(what: str, endpoint: str, *, object_name: str | None = None) -> Iterator[None]:
    """Raise this project's errors instead of botocore's and aiohttp's.

    Args:
        what: the requested url without secrets, for the message.
        endpoint: scheme and host of the server.
        object_name: the object, if the request was for one; then "not found" means that it is gone.
    """
    try:
        yield
    except NightreelError:
        raise
    except boto.ClientError as error:
        raise _from_answer(error, what, endpoint, object_name) from error
    except _CREDENTIALS as error:
        raise PermanentError(
            Reason.ACCESS_DENIED, f"{what}: no usable keys ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except boto.ParamValidationError as error:
        raise PermanentError(Reason.NO_SUCH_BUCKET, f"{what}: {_first_line(error)}") from error
    except _NETWORK as error:
        raise TransientError(
            Reason.STORAGE_UNREACHABLE,
            f"{what}: no valid reply from {endpoint} ({_first_line(error)}): check NIGHTREEL_S3_ENDPOINT_URL, "
            "the network, and whether the server runs",
        ) from error
    except (boto.BotoCoreError, ValueError) as error:  # ValueError: the endpoint is not a URL
        raise SettingsError(f"{what}: the S3 settings do not work: {_first_line(error)}") from error


def _from_answer(error: boto.ClientError, what: str, endpoint: str, object_name: str | None) -> NightreelError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", "")).strip()
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return PermanentError(
            Reason.NO_SUCH_BUCKET, f"{what}: {endpoint} has no such bucket: check its name, or create it"
        )
    if object_name is not None and (code in _GONE or status == 404):
        return PermanentError(Reason.OBJECT_GONE, f"{object_name} was deleted since it was listed")
    if status == 412:
        return TransientError(Reason.OBJECT_CHANGED, f"{object_name or what} was overwritten since it was listed")
    if code in _REFUSED or status in (401, 403):
        way_out = _REFUSED.get(code, "check the keys and their rights")
        return PermanentError(Reason.ACCESS_DENIED, f"{what}: {endpoint} refused with {code or status}: {way_out}")
    if status >= 500 or status in (408, 429) or code in _TRY_AGAIN:
        return TransientError(Reason.STORAGE_UNREACHABLE, f"{what}: {endpoint} answered {code or status} {message}")
    if code in _GONE or status == 404:
        return PermanentError(Reason.NO_SUCH_BUCKET, f"{what}: {endpoint} answered {code or status}: check the name")
    if status == 416:
        return PermanentError(Reason.INVALID_RANGE, f"{what}: the requested bytes do not exist")
    return PermanentError(Reason.STORAGE_REFUSED, f"{what}: {endpoint} answered {code or status} {message}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
