from datetime import UTC, datetime, timedelta, timezone

import pytest

from cpln_flows.deploy import names

MOMENT = datetime(2026, 4, 1, 12, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize("name", ["flows", "my-flows", "a.b_c__d--e", "team/flows", "0", "a" * 128])
def test_name_of_an_image_is_taken(name) -> None:
    assert names.name_of(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "Flows", "flows:1.0", "//image/flows", "-flows", "flows-", "a//b", "--push", "a b"),
        *("acme.registry.cpln.io/flows:1", "a\n", "a" * 129, 3, None, "{{ image.name }}"),
    ],
)
def test_anything_else_is_no_name_and_is_shown(name) -> None:
    with pytest.raises(ValueError, match=r"^name: expected a name in lower case") as caught:
        names.name_of(name)
    assert repr(name)[:40] in str(caught.value)


@pytest.mark.parametrize("tag", ["1.0", "v1", "_x", "A-b.c", "1f0c5e2ab9d4", "t" * 128])
def test_tag_of_an_image_is_taken(tag) -> None:
    assert names.tag_of(tag) == tag


@pytest.mark.parametrize(
    ("tag", "advice"),
    [
        pytest.param(1.1, "put it in quotes", id="a-number-of-yaml"),
        pytest.param("-x", "use such characters", id="an-option"),
        pytest.param("a:b", "use such characters", id="two-tags"),
        pytest.param("", "use such characters", id="nothing"),
        pytest.param("1.0\n", "use such characters", id="a-line-break"),
        pytest.param("t" * 129, "use such characters", id="too-long"),
    ],
)
def test_anything_else_is_no_tag_and_has_advice(tag, advice) -> None:
    with pytest.raises(ValueError, match=f"^tag: expected a string .*{advice}"):
        names.tag_of(tag)


@pytest.mark.parametrize(
    ("commit", "now", "tag"),
    [
        pytest.param("1f0c5e2ab9d4", MOMENT, "1f0c5e2ab9d4", id="clean"),
        pytest.param(None, MOMENT, "20260401T123005Z", id="changed"),
        pytest.param(
            None,
            MOMENT.astimezone(timezone(timedelta(hours=5))),
            "20260401T123005Z",
            id="changed-elsewhere",
        ),
    ],
)
def test_default_tag_is_the_commit_or_the_time(commit, now, tag) -> None:
    assert names.default_tag(commit, now) == tag == names.tag_of(tag)


@pytest.mark.parametrize("org", ["acme", "/org/acme", " acme "])
def test_organization_is_a_name_or_a_link(org) -> None:
    assert names.org_of(org) == "acme"


@pytest.mark.parametrize(
    ("org", "fault"),
    [
        (None, "org: none given, and CPLN_ORG is not set"),
        ("", "org: none given, and CPLN_ORG is not set"),
        ("acme/x", "org: expected a name such as acme"),
    ],
)
def test_missing_or_wrong_organization_is_a_fault(org, fault) -> None:
    with pytest.raises(ValueError, match=fault):
        names.org_of(org)


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/amd64,linux/arm64", "", None])
def test_only_the_platform_of_workloads_is_built_for(platform) -> None:
    assert names.platform_of("linux/amd64") == "linux/amd64"
    with pytest.raises(ValueError, match=r"platform: found .*linux/amd64 only"):
        names.platform_of(platform)
