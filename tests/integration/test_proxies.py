"""Every client, with proxies in the environment: requests to loopback are direct, and errors name the proxy."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from nightreel.errors import NightreelError, TransientError
from nightreel.models.served.chat_endpoint import ChatEndpoint
from nightreel.orchestration.client import prefect_client
from nightreel.services import PrefectApi
from nightreel.services.configured import check_prefect
from nightreel.settings import load_settings
from nightreel.storage import TransferOptions, open_storage

ELSEWHERE = "http://nightreel.invalid"
ONCE = TransferOptions(attempts=1, stall_s=2)


@pytest.fixture
def proxy():
    """A forward proxy that records the URLs that it is asked for, and refuses them."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _refuse(self):
            asked.append(self.path)
            self.send_response(502)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_HEAD = do_CONNECT = _refuse  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server.asked = asked
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()


@pytest.fixture
def proxied(proxy, monkeypatch):
    """The environment of a company: every variable names the proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url.replace("://", "://user:pa55@"))
        monkeypatch.setenv(name.lower(), proxy.url.replace("://", "://user:pa55@"))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "intranet.example")
    return proxy


def error_of(operation):
    with pytest.raises(NightreelError) as caught:
        operation()
    return caught.value


def test_object_storage_on_loopback_is_direct(proxied, s3_bucket, s3_server, s3_client, tmp_path, monkeypatch):
    s3_client.put_object(Bucket=s3_bucket, Key="a.mp4", Body=b"a")
    storage = open_storage(f"s3://{s3_bucket}", load_settings())
    ((item,),) = storage.list_pages()
    storage.fetch(item.uri, etag=item.etag, destination=tmp_path / "out", max_bytes=10)
    storage.check_writable()
    assert proxied.asked == []


def test_a_model_server_on_loopback_is_direct(proxied, answering_url):
    endpoint = ChatEndpoint(answering_url, api_key=None, timeout_s=5, patience_s=0, connections=1)
    error = error_of(lambda: endpoint.get("models"))
    endpoint.close()
    assert "501" in error.detail, "the server itself answers"
    assert proxied.asked == []


def test_prefect_on_loopback_is_direct(proxied, answering_url):
    load_settings(prefect_api_url=answering_url)
    check_prefect(answering_url)
    with temporary_settings({PREFECT_API_URL: answering_url}), get_client(sync_client=True) as client:
        with pytest.raises(httpx.HTTPStatusError, match="501"):
            client.hello()
    assert proxied.asked == []


def test_errors_of_object_storage_name_the_proxy(proxied, s3_bucket, monkeypatch):
    monkeypatch.setenv("NIGHTREEL_S3_ENDPOINT_URL", ELSEWHERE)
    storage = open_storage(f"s3://{s3_bucket}", load_settings(), options=ONCE)
    error = error_of(storage.check)
    assert proxied.asked
    assert f"through the proxy {proxied.url} (HTTP_PROXY)" in error.detail
    assert "pa55" not in str(error)


def test_errors_of_a_model_server_name_the_proxy(proxied):
    load_settings()
    stop = threading.Event()
    stop.set()
    endpoint = ChatEndpoint(f"{ELSEWHERE}/v1", api_key=None, timeout_s=5, patience_s=0, connections=1)
    error = error_of(lambda: endpoint.post("chat/completions", {}, stop=stop))
    endpoint.close()
    assert proxied.asked
    assert f"through the proxy {proxied.url} (HTTP_PROXY)" in error.detail
    assert "pa55" not in str(error)


def test_errors_of_prefect_name_the_proxy(proxied, monkeypatch, free_port):
    monkeypatch.setenv("PREFECT_CLIENT_MAX_RETRIES", "0")
    load_settings()

    def call():
        with prefect_client(PrefectApi(f"{ELSEWHERE}/api")) as client:
            client.read_work_pools()

    error = error_of(call)
    assert f"through the proxy {proxied.url} (HTTP_PROXY)" in error.detail
    assert "pa55" not in str(error)
    dead = f"http://127.0.0.1:{free_port}"
    monkeypatch.setenv("http_proxy", dead)
    with pytest.raises(TransientError, match=f"through the proxy {dead}"):
        check_prefect(f"{ELSEWHERE}/api")
