"""A webhook's URL leads out, not in: to no service of this host or its network, by whatever spelling or name."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fixtures.receiver import receiving
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.errors import NightreelError, PermanentError, SettingsError, TransientError
from nightreel.webhooks import Allowed, check_url, new_secret, send

INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - refused, not bound
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",  # metadata of clouds
    "169.254.170.2",  # credentials of containers
    "100.100.100.200",
    "168.63.129.16",  # a public address that Azure serves to its own machines
    "192.0.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",  # metadata over IPv6
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001::a00:1",
    "2001:db8::1",
]
OUTSIDE = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]
SPELLINGS = [
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "0",
    "127.0.0.1.",
    "①②⑦.⓪.⓪.①",
    "[::ffff:7f00:1]",
    "[::]",
    "169.254.169.254",
    "metadata.google.internal",
]


def deliver(url: str, allowed: Allowed = Allowed(), **options):  # noqa: B008 - frozen
    return send(url, [new_secret()], message_id="evt_1", payload={"type": "x"}, allowed=allowed, **options)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused_whatever_the_name_is(address, monkeypatch):
    assert not Allowed().allows(ip_address(address))
    resolved(monkeypatch, address)
    with pytest.raises(PermanentError, match="no public address"):
        deliver("https://receiver.example/")


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_is_allowed(address):
    assert Allowed().allows(ip_address(address))


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_an_address_leads_inside(host):
    """The resolver of this host reads them; `https` because `http` is refused before."""
    with pytest.raises(NightreelError) as refused:
        deliver(f"https://{host}/", timeout_s=2)
    assert isinstance(refused.value, PermanentError) or "could not be looked up" in str(refused.value)


def test_one_address_inside_among_public_ones_refuses_the_name(monkeypatch):
    resolved(monkeypatch, "1.1.1.1", "10.0.0.1")
    with pytest.raises(PermanentError, match=r"receiver\.example is at 10\.0\.0\.1"):
        deliver("https://receiver.example/")


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch):
    """A name server that says one address at first and another one later: the name is looked up once."""
    with receiving() as receiver:
        port = int(receiver.url.rsplit(":", 1)[1].partition("/")[0])
        answers = iter(["127.0.0.1", "10.0.0.1"])
        lookups = []
        real = socket.getaddrinfo

        def rebound(host, *arguments, **named):
            if host != "receiver.example":
                return real(host, *arguments, **named)  # an address
            lookups.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

        monkeypatch.setattr(socket, "getaddrinfo", rebound)
        networks = (ip_network("127.0.0.0/8"),)
        response = deliver(f"http://receiver.example:{port}/", Allowed(networks=networks, http=True))
    assert response.status == 204
    assert lookups == ["receiver.example"]
    assert receiver.got[0].headers["host"] == f"receiver.example:{port}"


def test_a_name_that_leads_to_this_host_is_refused_and_its_own_address_is_not():
    with receiving() as receiver:
        assert deliver(receiver.url).status == 204
        with pytest.MonkeyPatch.context() as patch:
            resolved(patch, "127.0.0.1")
            with pytest.raises(PermanentError, match="no public address"):
                deliver(receiver.url.replace("127.0.0.1", "receiver.example"), Allowed(http=True))
    assert len(receiver.got) == 1


def test_an_allowed_network_is_reached_and_no_other(monkeypatch):
    allowed = Allowed(networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    found = [allowed.allows(ip_address(one)) for one in ("10.1.2.3", "10.2.0.1", "fd00::1", "::1", "127.0.0.1")]
    assert found == [True, False, True, False, False]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://receiver.example/", "unencrypted"),
        ("http://localhost.receiver.example/", "unencrypted"),
        ("ftp://receiver.example/", "expected https"),
        ("file:///etc/passwd", "expected https"),
        ("gopher://127.0.0.1:5432/_x", "expected https"),
        ("https://ann:secret@receiver.example/", "no login"),
        ("https://receiver.example\\@127.0.0.1/", "no login"),
        ("https://receiver.example/\r\nhost: inside", "expected https"),
        ("https://receiver.example/a b", "expected https"),
        ("https:///path", "expected https"),
        ("https://receiver.example:99999/", "is no URL"),
        ("https://[::1/", "is no URL"),
        ("https://receiver.example/" + "x" * 2000, "expected https"),
    ],
)
def test_a_url_that_is_none_is_refused_before_anything_is_stored(url, message, monkeypatch, database_url):
    with pytest.raises(SettingsError) as refused:
        check_url(url, Allowed())
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", database_url)
    added = CliRunner().invoke(app, ["webhooks", "add", url])
    assert isinstance(added.exception, SettingsError)


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch):
    with receiving() as proxy, receiving() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert deliver(receiver.url).status == 204
    assert (len(proxy.got), len(receiver.got)) == (0, 1)


def test_a_certificate_that_nobody_signed_is_refused(tmp_path):
    """TLS is checked although the connection is made to an address."""
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with receiving(tls=context) as receiver:
        with pytest.raises(TransientError, match="CERTIFICATE_VERIFY_FAILED"):
            deliver(receiver.url)
    assert receiver.got == []


def self_signed(directory: Path) -> Path:
    """A certificate of 127.0.0.1 with its key, which no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "receiver.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def resolved(monkeypatch, *addresses: str) -> None:
    """Every name has these addresses."""

    def looked_up(_, port, *__, **___):
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
