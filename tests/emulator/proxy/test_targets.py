"""Reading the targets of requests."""

import pytest

from cpln_flows.emulator.proxy.targets import (
    Authority,
    BadTargetError,
    origin_form,
    parse_absolute,
    parse_authority,
)


@pytest.mark.parametrize(
    ("target", "authority", "path"),
    [
        (b"http://web.gvc.cpln.local/a?b#c", Authority("web.gvc.cpln.local", 80), b"/a?b"),
        (b"HTTP://Web:8080", Authority("web", 8080), b"/"),
        (b"http://web?a=http://b/", Authority("web", 80), b"/?a=http://b/"),
        (b"http://web#a", Authority("web", 80), b"/"),
        (b"http://web:/", Authority("web", 80), b"/"),
        (b"http://[::1]:81/a", Authority("::1", 81), b"/a"),
        (b"http://127.0.0.1//a", Authority("127.0.0.1", 80), b"//a"),
        (b"http://under_score/", Authority("under_score", 80), b"/"),
    ],
)
def test_absolute_target_is_taken_apart(target, authority, path):
    assert parse_absolute(target) == (authority, path)


@pytest.mark.parametrize(
    "target",
    [
        b"/", b"*", b"web", b"web:80", b"https://web/", b"ws://web/", b"http://", b"http:///a",
        b"http://a b/", b"http://u@web/", b"http://web:x/", b"http://web:0/", b"http://web:99999/",
        b"http://[::1/", b"http://[::1]x/", b"http://[web]/", b"http://[fe80::1%25lo]/",
        b"http://.web/", b"http://" + b"a" * 254 + b"/", b"http://\xff/", b"/http://web/",
        b"http://web:\xb2/", b"http://web:80:80/",
    ],
)  # fmt: skip
def test_other_absolute_targets_are_refused(target):
    with pytest.raises(BadTargetError):
        parse_absolute(target)


@pytest.mark.parametrize(
    ("text", "authority"),
    [("Web:443", Authority("web", 443)), ("[::1]:1", Authority("::1", 1))],
)
def test_authority_needs_its_port(text, authority):
    assert parse_authority(text) == authority
    with pytest.raises(BadTargetError):
        parse_authority(text.rpartition(":")[0])


@pytest.mark.parametrize(
    ("authority", "header"),
    [
        (Authority("web", 80), b"web"),
        (Authority("web", 81), b"web:81"),
        (Authority("::1", 80), b"[::1]"),
        (Authority("::1", 81), b"[::1]:81"),
    ],
)
def test_authority_makes_a_host_header(authority, header):
    assert authority.header == header


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"/a?b", b"/a?b"), (b"//a", b"//a"), (b"*", b"*"), (b"http://web/a", b"/a")],
)
def test_origin_form_of_each_target(target, path):
    assert origin_form(target) == path


@pytest.mark.parametrize("target", [b"a", b"web:80", b"https://web/", b"?a"])
def test_other_targets_have_no_origin_form(target):
    with pytest.raises(BadTargetError):
        origin_form(target)
