"""Every limit of the platform: at it, and one beyond."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.manifest import limits

WORKLOAD_NAME = re.compile(r"[a-z][-a-z0-9]+[a-z0-9]")
SUFFIXES = st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True).filter(
    lambda suffix: suffix != "headless"
)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        pytest.param(limits.container_name, "c" * 64, "c" * 65, id="container-name-length"),
        pytest.param(limits.container_name, "ab", "a", id="shortest-container-name"),
        pytest.param(limits.container_name, "a-b", "a-", id="container-name-ends-with-a-dash"),
        pytest.param(limits.container_name, "a1", "1a", id="container-name-begins-with-a-digit"),
        pytest.param(limits.container_name, "main", "Main", id="container-name-in-capitals"),
        pytest.param(limits.container_name, "istio", "istio-proxy", id="reserved-container"),
        pytest.param(limits.container_name, "cpln", "cpln-x", id="reserved-container-prefix"),
        pytest.param(limits.container_name, "debugger", "debugger-x", id="reserved-debugger"),
        pytest.param(limits.workload_base, "n" * 49, "n" * 50, id="workload-name"),
        pytest.param(limits.env_name, "A" * 120, "A" * 121, id="env-name-length"),
        pytest.param(limits.env_name, "_a.b-C9", "9A", id="env-name-begins-with-a-digit"),
        pytest.param(limits.env_name, "A", "", id="empty-env-name"),
        pytest.param(limits.env_name, "A", "A B", id="blank-in-env-name"),
        pytest.param(limits.env_name, "CPLN", "CPLN_TOKEN", id="reserved-env-prefix"),
        pytest.param(limits.env_name, "K_SERVICES", "K_SERVICE", id="reserved-env"),
        pytest.param(limits.env_value, "v" * 4096, "v" * 4097, id="env-value"),
        pytest.param(limits.image, "//image/flows:1", "", id="no-image"),
        pytest.param(limits.image, "ubuntu:24.04", "ubuntu 24.04", id="blank-in-image"),
        pytest.param(limits.schedule, "0 3 * * *", "0 3 * *", id="four-fields"),
        pytest.param(limits.schedule, "* * * * *", "* * * * * *", id="six-fields"),
        pytest.param(limits.description, "d" * 250, "d" * 251, id="description-length"),
        pytest.param(limits.description, "a b", "a ", id="description-ends-with-a-blank"),
        pytest.param(limits.port, 80, 79, id="lowest-port"),
        pytest.param(limits.port, 65_535, 65_536, id="highest-port"),
        pytest.param(limits.port, 8011, 8012, id="reserved-port"),
        pytest.param(
            limits.volume, "cpln://secret/a", "cpln://secret/", id="volume-without-a-name"
        ),
        pytest.param(limits.volume, "scratch://x", "http://x", id="volume-of-another-kind"),
        pytest.param(limits.mount, "/data", "data", id="relative-mount"),
        pytest.param(limits.mount, "/devices", "/dev", id="reserved-mount"),
        pytest.param(limits.mount, "/var/lib", "/var/log/", id="reserved-mount-with-a-slash"),
        pytest.param(limits.mount, "/x", "/", id="the-root"),
        pytest.param(
            limits.mounts,
            [f"/m{n}" for n in range(15)],
            [f"/m{n}" for n in range(16)],
            id="number-of-mounts",
        ),
        pytest.param(limits.mounts, ["/a", "/ab"], ["/a", "/a/b"], id="mount-in-a-mount"),
        pytest.param(limits.mounts, ["/a"], ["/a", "/a/"], id="two-mounts-at-one-place"),
    ],
)
def test_what_the_platform_takes_is_right_and_one_beyond_is_wrong(rule, good, bad) -> None:
    assert rule(good) is None
    assert rule(bad)


@pytest.mark.parametrize(
    ("rule", "good", "form", "bad"),
    [
        pytest.param(limits.cpu, "25m", "25m", "24m", id="least-cpu"),
        pytest.param(limits.cpu, "0.5", "500m", "half", id="cpu"),
        pytest.param(limits.memory, "32Mi", "32Mi", "31Mi", id="least-memory"),
        pytest.param(limits.memory, "1Gi", "1024Mi", "1GB", id="memory"),
        pytest.param(limits.memory, "1e9", "954Mi", "1e99", id="more-memory-than-can-be-written"),
    ],
)
def test_amounts_are_written_in_the_platforms_form(rule, good, form, bad) -> None:
    assert rule(good) == (form, None)
    assert rule(bad)[0] is None
    assert rule(bad)[1]


@pytest.mark.parametrize(
    ("cpu", "memory", "relaxed", "fits"),
    [
        pytest.param("100m", "800Mi", False, True, id="at-the-ratio"),
        pytest.param("100m", "801Mi", False, False, id="beyond-the-ratio"),
        pytest.param("100m", "3200Mi", True, True, id="at-the-relaxed-ratio"),
        pytest.param("100m", "3201Mi", True, False, id="beyond-the-relaxed-ratio"),
        pytest.param(None, "400Mi", False, True, id="default-cpu"),
        pytest.param(None, "401Mi", False, False, id="too-much-for-the-default-cpu"),
        pytest.param("25m", None, False, True, id="default-memory"),
        pytest.param(None, None, False, True, id="both-defaults"),
    ],
)
def test_memory_must_fit_the_cpu(cpu, memory, relaxed, fits) -> None:
    assert (limits.ratio(cpu, memory, relaxed=relaxed) is None) is fits


def test_too_much_memory_says_how_much_cpu_it_needs() -> None:
    assert "at least 101m" in str(limits.ratio("100m", "801Mi", relaxed=False))


@pytest.mark.parametrize(
    ("least", "most", "fits"),
    [("25m", "25m", True), ("26m", "25m", False), ("100Mi", "1024Mi", True)],
)
def test_the_least_amount_is_within_the_most(least, most, fits) -> None:
    assert limits.least_within_most(least, most) is fits


@pytest.mark.parametrize(
    ("given", "link"),
    [
        ("etl", "//gvc/dev/identity/etl"),
        ("i" * 63, f"//gvc/dev/identity/{'i' * 63}"),
        ("//gvc/dev/identity/etl", "//gvc/dev/identity/etl"),
        ("/org/acme/gvc/dev/identity/etl", "/org/acme/gvc/dev/identity/etl"),
    ],
)
def test_an_identity_is_a_name_or_a_link(given, link) -> None:
    assert limits.identity(given, "dev") == (link, None)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "ab",
        "i" * 64,
        "Etl",
        "etl-",
        "/",
        "//identity/etl/x",
        "//gvc/dev/secret/etl",
        "/org/acme/identity/etl",
    ],
)
def test_what_is_no_identity_is_told_with_the_form_of_one(given) -> None:
    link, wrong = limits.identity(given, "dev")
    assert link is None
    assert "dev" in wrong


def test_a_secret_value_is_never_shown() -> None:
    assert "secret-value" not in limits.env_value("secret-value" * 400)


@given(st.none() | st.text(), SUFFIXES)
def test_the_name_of_a_workload_is_valid_and_a_function_of_base_and_suffix(base, suffix) -> None:
    name = limits.workload_name(base, suffix)
    assert WORKLOAD_NAME.fullmatch(name)
    assert 3 <= len(name) <= 49
    assert name.endswith(f"-{suffix}")
    assert not name.endswith("-headless")
    assert name == limits.workload_name(base, suffix)


@given(st.none() | st.text(), st.none() | st.text(), SUFFIXES, SUFFIXES)
def test_two_suffixes_never_share_a_name(base, other_base, suffix, other_suffix) -> None:
    same = limits.workload_name(base, suffix) == limits.workload_name(other_base, other_suffix)
    assert not same or suffix == other_suffix


@pytest.mark.parametrize("suffix", ["", "A", "a-b", "-a", "a" * 33, "headless", "a b", "é"])
def test_a_suffix_that_would_not_be_unique_or_valid_is_refused(suffix) -> None:
    with pytest.raises(ValueError, match="cannot end the name"):
        limits.workload_name("etl", suffix)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        pytest.param("Nightly ETL (prod)", "nightly-etl-prod-3f0c", id="readable"),
        pytest.param("1st", "job-1st-3f0c", id="begins-with-a-digit"),
        pytest.param("", "job-3f0c", id="nothing-readable"),
        pytest.param("Größe", "grosse-3f0c", id="another-alphabet"),
        pytest.param("&#65; &amp;", "job-65-amp-3f0c", id="entities-are-left-alone"),
        pytest.param("x" * 60, "x" * 44 + "-3f0c", id="cut"),
        pytest.param("x" * 43 + "-y", "x" * 43 + "-3f0c", id="cut-at-a-dash"),
    ],
)
def test_the_name_of_a_workload_is_readable(base, name) -> None:
    assert limits.workload_name(base, "3f0c") == name
