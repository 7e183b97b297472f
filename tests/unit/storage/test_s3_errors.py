import aiohttp
import pytest
from botocore import exceptions as boto

from nightreel.errors import PermanentError, SettingsError, TransientError
from nightreel.reasons import Reason, Scope
from nightreel.storage.s3_errors import translated

ENDPOINT = "https://s3.example.org"


def answered(code, status, message="said the server"):
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(response, "GetObject")


def translation_of(error, object_name="s3://b/k", **options):
    expected = (PermanentError, TransientError)
    with pytest.raises(expected) as caught, translated("s3://b", ENDPOINT, object_name=object_name, **options):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (answered("NoSuchBucket", 404), PermanentError, "no_such_bucket"),
        (answered("NoSuchKey", 404), PermanentError, "object_gone"),
        (answered("404", 404), PermanentError, "object_gone"),
        (answered("SignatureDoesNotMatch", 403), PermanentError, "access_denied"),
        (answered("ExpiredToken", 400), PermanentError, "access_denied"),
        (answered("RequestTimeTooSkewed", 403), PermanentError, "access_denied"),
        (answered("SomethingNew", 403), PermanentError, "access_denied"),
        (answered("PreconditionFailed", 412), TransientError, "object_changed"),
        (answered("ConditionalRequestConflict", 409), TransientError, "storage_unreachable"),
        (answered("SlowDown", 503), TransientError, "storage_unreachable"),
        (answered("", 502), TransientError, "storage_unreachable"),
        (answered("RequestTimeout", 400), TransientError, "storage_unreachable"),
        (answered("", 429), TransientError, "storage_unreachable"),
        (answered("InvalidRange", 416), PermanentError, "invalid_range"),
        (answered("MalformedXML", 400), PermanentError, "storage_refused"),
        (boto.NoCredentialsError(), PermanentError, "access_denied"),
        (boto.ProfileNotFound(profile="nobody"), PermanentError, "access_denied"),
        (boto.EndpointConnectionError(endpoint_url=ENDPOINT), TransientError, "storage_unreachable"),
        (boto.ReadTimeoutError(endpoint_url=ENDPOINT), TransientError, "storage_unreachable"),
        (aiohttp.ClientPayloadError("not enough data"), TransientError, "storage_unreachable"),
        (TimeoutError(), TransientError, "storage_unreachable"),
        (ConnectionResetError("reset"), TransientError, "storage_unreachable"),
        (boto.NoRegionError(), SettingsError, "settings"),
        (ValueError("Invalid endpoint: x"), SettingsError, "settings"),
    ],
)
def test_a_failure_is_transient_or_permanent_and_has_one_reason(error, kind, reason):
    ours = translation_of(error)
    assert (type(ours), ours.reason) == (kind, reason)
    assert "s3://b" in ours.detail
    assert "\n" not in ours.detail


def test_a_404_without_an_object_means_a_missing_bucket():
    assert translation_of(answered("404", 404), object_name=None).reason == "no_such_bucket"


def test_our_errors_and_bugs_pass_unchanged():
    ours = TransientError(Reason.OBJECT_CHANGED, "x")
    assert translation_of(ours) is ours
    with pytest.raises(KeyError), translated("s3://b", ENDPOINT):
        raise KeyError("a bug")


KEYS = ["ExpiredToken", "RequestTimeTooSkewed", "InvalidAccessKeyId", "TokenRefreshRequired", "SignatureDoesNotMatch",
        "RequestExpired", "AllAccessDisabled", "InvalidToken", "AuthorizationHeaderMalformed"]  # fmt: skip


@pytest.mark.parametrize("code", KEYS)
@pytest.mark.parametrize("status", [400, 403])
def test_an_error_of_keys_clock_or_account_ends_the_run_whatever_the_object(code, status):
    error = translation_of(answered(code, status), denied=Reason.OBJECT_DENIED)
    assert (error.reason, error.reason.scope) == ("access_denied", Scope.RUN)


def test_a_401_concerns_the_keys_and_a_403_may_concern_one_object():
    assert translation_of(answered("Unheard", 401), denied=Reason.OBJECT_DENIED).reason == "access_denied"
    denied = translation_of(answered("AccessDenied", 403), denied=Reason.OBJECT_DENIED)
    assert (denied.reason, denied.reason.scope) == ("object_denied", Scope.VIDEO)


def test_a_failed_request_for_keys_concerns_the_keys():
    response = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
    error = translation_of(boto.ClientError(response, "AssumeRoleWithWebIdentity"), denied=Reason.OBJECT_DENIED)
    assert error.reason == "access_denied"
    assert "AssumeRoleWithWebIdentity" in error.detail


@pytest.mark.parametrize("code", ["InvalidObjectState", "ObjectRestoreInProgress"])
def test_an_archived_object_has_its_own_reason(code):
    error = translation_of(answered(code, 403), denied=Reason.OBJECT_DENIED)
    assert (error.reason, error.reason.scope) == ("archived", Scope.VIDEO)


def test_a_long_reply_of_a_server_is_cut_in_a_message():
    assert len(translation_of(answered("Odd", 400, "x" * 100_000)).detail) < 1000
