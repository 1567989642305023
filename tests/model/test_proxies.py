"""Which proxy the environment names for an address, whatever else stands in its variables."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpln_flows.errors import ConfigurationError
from cpln_flows.model.proxies import Proxies

PROXY = "http://proxy:3128"


def goes_by_proxy(url: str, no_proxy: str) -> bool:
    return Proxies.of({"http": PROXY, "https": PROXY, "no": no_proxy}).proxy_of(url) is not None


@pytest.mark.parametrize(
    ("url", "no_proxy", "expected"),
    [
        pytest.param("https://api.cpln.io", "", True, id="no-exceptions"),
        pytest.param("https://api.cpln.io", "*", False, id="all-are-exceptions"),
        pytest.param("https://api.cpln.io", "x, *", False, id="one-of-which-is-all"),
        pytest.param("https://api.cpln.io", "cpln.io", False, id="name-and-what-is-below"),
        pytest.param("https://api.cpln.io", ".cpln.io", False, id="dot-before-the-name"),
        pytest.param("https://api.cpln.io", "*.cpln.io", False, id="star-before-the-name"),
        pytest.param("https://API.cpln.io", "api.CPLN.io", False, id="case"),
        pytest.param("https://api.cpln.io.", "api.cpln.io", False, id="dot-after-the-host"),
        pytest.param("https://mycpln.io", "cpln.io", True, id="another-name-with-the-same-end"),
        pytest.param("https://api.cpln.io:8443", "api.cpln.io:8443", False, id="port"),
        pytest.param("https://api.cpln.io", "api.cpln.io:8443", True, id="another-port"),
        pytest.param(
            "https://api.cpln.io", "https://api.cpln.io", False, id="address-instead-of-a-name"
        ),
        pytest.param("http://10.1.2.3", "10.0.0.0/8", False, id="network"),
        pytest.param("http://10.1.2.3", "10.1.2.3/8", False, id="host-of-a-network"),
        pytest.param("http://11.1.2.3", "10.0.0.0/8", True, id="another-network"),
        pytest.param("http://10.1.2.3", "10.1.2.3:80", False, id="port-of-the-scheme"),
        pytest.param("http://10.1.2.3:80", "10.1.2.3:80", False, id="port-of-an-address"),
        pytest.param("http://[fd00:1234::7]", "fd00:1234::/64", False, id="network-of-ipv6"),
        pytest.param(
            "http://[fd00:1234::7]", "[fd00:1234::]/64", True, id="brackets-that-are-wrong"
        ),
        pytest.param("http://[fd01::7]", "fd00:1234::/64", True, id="another-network-of-ipv6"),
        pytest.param("http://[::1]:80", "[::1]", False, id="ipv6-in-brackets"),
        pytest.param("http://[::1]:80", "[::1]:80", False, id="ipv6-with-a-port"),
        pytest.param("http://[::1]", "::1", False, id="ipv6"),
        pytest.param("http://localhost", "::1,localhost,127.0.0.1", False, id="localhost"),
        pytest.param("http://10.1.2.3", "::/0", True, id="the-other-version"),
        pytest.param(
            "http://api.cpln.io",
            ",,, %%, a/b, [, ]:, http://, :80, host:port, a b",
            True,
            id="nothing-that-matches",
        ),
    ],
)
def test_exceptions_are_reached_without_proxy(url, no_proxy, expected) -> None:
    assert goes_by_proxy(url, no_proxy) is expected


@pytest.mark.parametrize(
    ("found", "url", "expected"),
    [
        pytest.param({}, "https://a", None, id="none"),
        pytest.param({"no": "x"}, "https://a", None, id="exceptions-alone"),
        pytest.param({"http": PROXY}, "https://a", None, id="another-scheme"),
        pytest.param({"http": ""}, "http://a", None, id="empty"),
        pytest.param(
            {"http": "proxy:3128"}, "http://a", (PROXY, "HTTP_PROXY"), id="without-scheme"
        ),
        pytest.param(
            {"all": "socks5://p:1"}, "https://a", ("socks5://p:1", "ALL_PROXY"), id="for-all"
        ),
        pytest.param(
            {"all": "http://a", "https": PROXY},
            "https://a",
            (PROXY, "HTTPS_PROXY"),
            id="own-scheme-before-all",
        ),
        pytest.param({"https": PROXY}, "wss://a", (PROXY, "HTTPS_PROXY"), id="web-sockets"),
        pytest.param(
            {"wss": "http://w:1", "https": PROXY},
            "wss://a",
            ("http://w:1", "WSS_PROXY"),
            id="for-web-sockets-alone",
        ),
    ],
)
def test_proxy_of_the_scheme_is_used(found, url, expected) -> None:
    assert Proxies.of(found).proxy_of(url) == expected


@pytest.mark.parametrize(
    "text",
    [
        *(
            "ftp://proxy",
            "http://",
            "http://[::1",
            "http://proxy:99999",
            "http://proxy:abc",
            "http://pro xy",
            "http:///x",
            "://",
        ),
        *("http://proxy/path", "http://me:hush@", "me:hush@proxy:abc", "socks9://me:hush@proxy"),
    ],
)
def test_wrong_proxy_is_named_with_its_variable(text) -> None:
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY: ") as caught:
        Proxies.of({"https": text}).proxy_of("https://a")
    assert "hush" not in str(caught.value)
    assert Proxies.of({"https": text}).proxy_of("http://a") is None  # it is for others


def test_password_of_a_proxy_is_not_shown() -> None:
    assert "hush" not in repr(Proxies.of({"http": "http://me:hush@proxy"}))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40), st.sampled_from(["http://a.b", "https://[::1]:4", "ws://1.2.3.4"]))
def test_no_text_breaks_the_choice(text, url) -> None:
    assert Proxies.of({"no": text}).proxy_of(url) is None
    with contextlib.suppress(ConfigurationError):
        found = Proxies.of({"all": text, "no": text}).proxy_of(url)
        assert found is None or text.strip() in found.url
