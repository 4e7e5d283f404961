"""A proxy of the environment is asked for public hosts, and for no others."""

from __future__ import annotations

import socket

import pytest
from urllib3.util import connection

from cnnlib.client import api_client, proxies
from cnnlib.client.api_client import Client
from cnnlib.client.proxies import is_near
from cnnlib.errors import ServiceError
from tests.client.helpers import GOOD

NEAR = [
    "127.0.0.1",
    "127.8.9.1",
    "127.1",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "api.localhost",
    "0.0.0.0",
    "0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "10.1.2.3",
    "100.100.1.2",
    "host.docker.internal",
    "nas.lan",
    "captcha.home.arpa",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.20",
    "[::ffff:192.168.1.20]",
    "[fd00::77]",
    "169.254.1.1",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "printer.local",
    "api",  # a service of Docker, a machine of the office
]
FAR = [
    "8.8.8.8",
    "100.128.0.1",
    "internal.example.com",
    "172.32.0.1",
    "172.15.0.1",
    "11.0.0.1",
    "192.169.0.1",
    "203.0.113.9",
    "[2001:4860:4860::8888]",
    "[::ffff:8.8.8.8]",
    "example.com",
    "localhost.example.com",
    "10.example.com",
    "127.0.0.1.example.com",
]
PROXY = ("proxy.invalid", 3128)


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing of the environment in which the tests run."""
    for name in ("http", "https", "all", "no"):
        for variable in (f"{name}_proxy", f"{name.upper()}_PROXY"):
            monkeypatch.delenv(variable, raising=False)
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def connected(monkeypatch):
    """The addresses to which connections are made; none of them succeeds."""
    found = []

    def create_connection(address, *_, **__):
        found.append(address)
        raise ConnectionRefusedError("nobody listens here")

    monkeypatch.setattr(connection, "create_connection", create_connection)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://{PROXY[0]}:{PROXY[1]}")
    return found


def ask(url):
    with Client(url, retries=0) as api, pytest.raises(ServiceError):
        api.recognize(b"image")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", NEAR)
def test_near_host_is_asked_directly(connected, scheme, host):
    ask(f"{scheme}://{host}:6000/b")
    assert connected and PROXY not in connected


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("host", FAR)
def test_public_host_is_asked_through_the_proxy(connected, scheme, host):
    ask(f"{scheme}://{host}:6000/b")
    assert connected == [PROXY]


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("host", "exception"),
    [("8.8.8.8", "8.8.8.8"), ("8.8.8.8", "8.8.0.0/16"), ("a.example.com", ".example.com")],
)
def test_exceptions_of_the_environment_hold(connected, monkeypatch, variable, host, exception):
    monkeypatch.setenv(variable, f"other.example,{exception}")
    ask(f"http://{host}:6000/b")
    assert connected == [(host, 6000)]


def test_names_of_this_machine_are_near(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "Api-7.lan.example.com")
    monkeypatch.setattr(socket, "getfqdn", lambda: "api-7.example.com")
    assert is_near("api-7.lan.example.com") and is_near("API-7.example.com.")
    assert not is_near("api-7.example.org") and not is_near("api-8.lan.example.com")


def own_addresses():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing
            return [probe.getsockname()[0]]
        except OSError:
            return []


@pytest.mark.parametrize("address", own_addresses())
def test_own_address_of_this_machine_is_near_whatever_kind_it_is(monkeypatch, address):
    monkeypatch.setattr(proxies, "PRIVATE_NETWORKS", ())
    assert is_near(address)
    # Where a machine may bind to any address, that says nothing.
    monkeypatch.setattr(proxies, "_is_own", lambda address: True)
    assert not is_near(address)


# --- with real servers ---


@pytest.fixture
def proxy(server, monkeypatch):
    """A proxy that counts; it answers by itself."""
    url, handler = server((200, '{"value": "through the proxy"}', {}))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, url.removesuffix("/b"))
    return handler


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "localhost", *own_addresses()])
def test_api_on_this_machine_is_asked_directly(server, proxy, host):
    url, api = server(GOOD, host="0.0.0.0")
    port = url.removesuffix("/b").rpartition(":")[2]
    with Client(f"http://{host}:{port}/b") as client:
        assert client.recognize(b"image").value == "验a"
        assert client.fetch().image
    assert (api.asked, proxy.asked) == (2, 0)


@pytest.mark.parametrize("host", ["8.8.8.8:6000", "captcha.example.com"])
def test_public_api_is_asked_through_the_proxy(proxy, host):
    with Client(f"http://{host}/b") as client:
        assert client.recognize(b"image").value == "through the proxy"
        assert client.fetch().image
    assert proxy.asked == 2


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_certificates_of_the_environment_hold_for_near_hosts_too(monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, str(tmp_path))
    for host in ("10.1.2.3", "example.com"):
        with Client(f"https://{host}/b") as client:
            session = client._session()
            settings = session.merge_environment_settings(client.url, {}, None, None, None)
            assert settings["verify"] == str(tmp_path)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
def test_a_proxy_that_does_not_answer_is_named(monkeypatch, proxy):
    monkeypatch.setattr(api_client, "BACKOFF_S", 0.001)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("all_proxy", proxy)
    with Client("http://captcha.example.com/b") as client, pytest.raises(ServiceError) as error:
        client.fetch()
    assert f"the proxy {proxy} was asked" in str(error.value)
    assert ("requests[socks]" in str(error.value)) == proxy.startswith("socks")
    assert "practice server" not in str(error.value) and ")))" not in str(error.value)


def test_the_password_of_a_proxy_is_not_shown(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:secret@proxy.example:3128")
    hint = proxies.proxy_hint("http://captcha.example.com/")
    assert "http://proxy.example:3128" in hint and "secret" not in hint


@pytest.mark.parametrize("url", ["http://example.com:99999/b", "http://example.com:x/b"])
def test_an_address_that_cannot_be_has_no_hint(monkeypatch, url):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "other.example")
    assert proxies.proxy_hint(url) == ""
