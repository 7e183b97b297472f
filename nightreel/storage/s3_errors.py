"""Translate the errors of S3 requests to this project's errors. Used by `s3_bucket.py` and `s3_object.py`.

Messages never hold secrets: they use only the code and message of a reply, and the scheme and host of the endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.host_errors import host_error
from nightreel.reasons import Reason

_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.NoAuthTokenError,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.MetadataRetrievalError,
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
_EXPIRED = "the keys or their session token have expired: renew them"
_UNKNOWN_KEY = "the server does not know this access key: check AWS_ACCESS_KEY_ID and the endpoint"
_INVALID_SESSION = "the session token is not valid: check AWS_SESSION_TOKEN"
_CLOCK = "this machine's clock is wrong: set it"
_ACCOUNT = "the account is disabled or not ready: ask its owner"
_REGION = "the region is wrong: set AWS_DEFAULT_REGION to the bucket's"
# Codes that concern the keys, the clock, the account or the region: every request fails for these.
_OF_KEYS = {
    "AccountProblem": _ACCOUNT,
    "AllAccessDisabled": _ACCOUNT,
    "NotSignedUp": _ACCOUNT,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "AuthFailure": _UNKNOWN_KEY,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "InvalidClientTokenId": _UNKNOWN_KEY,
    "UnrecognizedClientException": _UNKNOWN_KEY,
    "InvalidIdentityToken": _INVALID_SESSION,
    "InvalidSecurity": _INVALID_SESSION,
    "InvalidToken": _INVALID_SESSION,
    "InvalidTokenId": _INVALID_SESSION,
    "RequestInTheFuture": _CLOCK,
    "RequestTimeTooSkewed": _CLOCK,
    "SignatureDoesNotMatch": "key and secret do not match: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "PermanentRedirect": _REGION,
}
# Requests that botocore makes by itself to get or renew keys: their refusal concerns the keys.
_FOR_KEYS = ("AssumeRole", "GetRoleCredentials", "GetSessionToken", "CreateToken", "CreateSession")
_RIGHTS = (
    "these keys lack permission: allow them to list, read and, for a cache, write; if the bucket's owner lets "
    "requesters pay, set NIGHTREEL_S3_REQUESTER_PAYS=true"
)
_ARCHIVED = frozenset({"InvalidObjectState", "ObjectRestoreInProgress"})
_LONGEST_SAID = 300  # characters of a reply in a message
_TRY_AGAIN = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown"})
_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound"})


@contextmanager
def translated(
    what: str, endpoint: str, *, object_name: str | None = None, denied: Reason = Reason.ACCESS_DENIED
) -> Iterator[None]:
    """Raise this project's errors instead of botocore's and aiohttp's.

    Args:
        what: the requested url without secrets, for the message.
        endpoint: scheme and host of the server.
        object_name: the object, if the request was for one; then "not found" means that it is gone.
        denied: the reason when rights are missing. A reply does not say whether they are missing for one object.
    """
    try:
        yield
    except NightreelError:
        raise
    except boto.ClientError as error:
        raise _from_answer(error, what, endpoint, object_name, denied) from error
    except _CREDENTIALS as error:
        raise PermanentError(
            Reason.ACCESS_DENIED, f"{what}: no usable keys ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except ResponseParserError as error:
        raise PermanentError(
            Reason.UNSUPPORTED_STORE,
            f"{what}: {endpoint} sent a reply that is not S3's XML ({_first_line(error)[:_LONGEST_SAID]}): check "
            "NIGHTREEL_S3_ENDPOINT_URL, and whether a login page is in between",
        ) from error
    except boto.ParamValidationError as error:
        raise PermanentError(Reason.NO_SUCH_BUCKET, f"{what}: {_first_line(error)}") from error
    except _NETWORK as error:
        raise host_error(error, doing=f"{what}: no connection to {endpoint}") or TransientError(
            Reason.STORAGE_UNREACHABLE,
            f"{what}: no valid reply from {endpoint} ({_first_line(error)}): check NIGHTREEL_S3_ENDPOINT_URL, "
            "the network, and whether the server runs",
        ) from error
    except (boto.BotoCoreError, ValueError) as error:  # ValueError: the endpoint is not a URL
        raise SettingsError(f"{what}: the S3 settings do not work: {_first_line(error)}") from error


def lacking(what: str, endpoint: str, field: str) -> PermanentError:
    """The error for a reply without a field that the protocol demands."""
    return PermanentError(
        Reason.UNSUPPORTED_STORE,
        f"{what}: the reply of {endpoint} lacks {field}: expected an S3 server that supports ListObjectsV2 and ETags; "
        "check NIGHTREEL_S3_ENDPOINT_URL, or use another server",
    )


def _from_answer(
    error: boto.ClientError, what: str, endpoint: str, object_name: str | None, denied: Reason
) -> NightreelError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message") or "").strip()[:_LONGEST_SAID]
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if error.operation_name.startswith(_FOR_KEYS):
        return PermanentError(
            Reason.ACCESS_DENIED,
            f"{what}: no usable keys, {error.operation_name} failed with {code or status} {message}: check the role "
            "or profile of this process",
        )
    if code in ("NoSuchBucket", "InvalidBucketName"):
        return PermanentError(
            Reason.NO_SUCH_BUCKET, f"{what}: {endpoint} has no such bucket: check its name, or create it"
        )
    if object_name is not None and (code in _GONE or status == 404):
        return PermanentError(Reason.OBJECT_GONE, f"{object_name} was deleted since it was listed")
    if status == 412:
        return TransientError(Reason.OBJECT_CHANGED, f"{object_name or what} was overwritten since it was listed")
    if code in _ARCHIVED:
        return PermanentError(
            Reason.ARCHIVED,
            f"{object_name or what} is in an archive ({code}): restore it; the next run that lists it analyses it",
        )
    if code in _OF_KEYS or status == 401:
        way_out = _OF_KEYS.get(code, "check the keys")
        return PermanentError(Reason.ACCESS_DENIED, f"{what}: {endpoint} refused with {code or status}: {way_out}")
    if code == "AccessDenied" or status == 403:
        return PermanentError(denied, f"{what}: {endpoint} refused with {code or status}: {_RIGHTS}")
    if status >= 500 or status in (408, 429) or code in _TRY_AGAIN:
        # botocore turns a reply with status 200 that is not XML, such as a login page, into one with status 500
        kind = str(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("content-type", ""))
        hint = "" if "xml" in kind or not kind else f", as {kind[:40]!r}: is it an S3 server, or a login page?"
        return TransientError(
            Reason.STORAGE_UNREACHABLE, f"{what}: {endpoint} answered {code or status} {message}{hint}"
        )
    if code in _GONE or status == 404:
        return PermanentError(Reason.NO_SUCH_BUCKET, f"{what}: {endpoint} answered {code or status}: check the name")
    if status == 416 or code == "InvalidRange":
        return PermanentError(Reason.INVALID_RANGE, f"{what}: the requested bytes do not exist")
    return PermanentError(Reason.STORAGE_REFUSED, f"{what}: {endpoint} answered {code or status} {message}")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
