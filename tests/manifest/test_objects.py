"""Objects of the platform as files have them: several documents, lists, order and GVC."""

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.objects import parse, placed


def _paths(text: str, gvc: str | None = "dev") -> list[str]:
    return [
        one.path
        for one in placed(
            [("f", document) for document in parse(text, source="f")], org="acme", gvc=gvc
        )
    ]


def test_what_others_refer_to_comes_first() -> None:
    kinds = [
        "domain",
        "workload",
        "policy",
        "volumeset",
        "identity",
        "gvc",
        "cloudaccount",
        "secret",
        "agent",
    ]
    text = "\n---\n".join(f"kind: {kind}\nname: {kind}-1" for kind in kinds)
    order = [
        "agent",
        "secret",
        "cloudaccount",
        "gvc",
        "identity",
        "volumeset",
        "policy",
        "workload",
        "domain",
    ]
    assert [path.split("/")[-2] for path in _paths(text)] == order


def test_lists_are_taken_apart() -> None:
    text = (
        "kind: list\nitems: [{kind: secret, name: s-1}, [{kind: secret, name: s-2}]]\n"
        "---\n[{kind: secret, name: s-3}]"
    )
    assert _paths(text) == [f"/org/acme/secret/s-{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "gvc", "paths"),
    [
        pytest.param(
            "{kind: workload, name: w}", "dev", ["/org/acme/gvc/dev/workload/w"], id="given"
        ),
        pytest.param(
            "{kind: workload, name: w, gvc: own}",
            None,
            ["/org/acme/gvc/own/workload/w"],
            id="of-the-document",
        ),
        pytest.param(
            "{kind: workload, name: w, gvc: own}\n---\n{kind: workload, name: v}",
            None,
            ["/org/acme/gvc/own/workload/w", "/org/acme/gvc/own/workload/v"],
            id="of-the-one-before",
        ),
    ],
)
def test_gvc_of_an_object(text, gvc, paths) -> None:
    assert _paths(text, gvc) == paths


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "{kind: workload, name: w, gvc: other}",
            "expected the given 'dev' or nothing",
            id="two-gvcs",
        ),
        pytest.param("{name: w}", "expected the kind of an object, found nothing", id="no-kind"),
        pytest.param("{kind: secret, name: ../x}", "expected the name of a secret", id="odd-name"),
        pytest.param(
            "{kind: secret/../x, name: x}", "expected the kind of an object", id="odd-kind"
        ),
        pytest.param(
            "{kind: [list], name: x, items: []}",
            "expected the kind of an object, found a list",
            id="list-as-a-kind",
        ),
        pytest.param("just text", "expected objects, found the string", id="text"),
        pytest.param("a: [", "not YAML", id="no-yaml"),
    ],
)
def test_what_is_no_object_is_said(text, says) -> None:
    with pytest.raises(ManifestError, match="f") as caught:
        _paths(text)
    assert says in str(caught.value)


def test_object_without_a_gvc_says_what_to_give() -> None:
    with pytest.raises(ManifestError, match="a workload belongs to a GVC: give one"):
        _paths("{kind: workload, name: w}", gvc=None)


def test_all_faults_are_said_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        _paths("{kind: secret}\n---\n{name: x}")
    assert len(caught.value.faults) == 2
