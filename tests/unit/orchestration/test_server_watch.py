from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from nightreel.orchestration.server_watch import one_try


def test_one_try_changes_only_the_retries_and_only_within_the_block():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api", PREFECT_CLIENT_MAX_RETRIES: 3}):
        with one_try():
            assert PREFECT_CLIENT_MAX_RETRIES.value() == 0
            assert PREFECT_API_URL.value() == "http://127.0.0.1:1/api"
        assert PREFECT_CLIENT_MAX_RETRIES.value() == 3
