"""From needs to documents: who gets what, on what, and under which name."""

import pytest

from cpln_flows.errors import ConfigurationError
from cpln_flows.manifest import objects
from cpln_flows.provision import grants, permissions
from cpln_flows.provision.grants import Names
from cpln_flows.provision.permissions import STANDARD, Feature

NAMES = Names("acme", "dev", secrets=("keys",))
IN_DEV = {
    "kind": "workload",
    "spec": {"match": "all", "terms": [{"op": "=", "rel": "gvc", "value": "dev"}]},
}


def _documents(*features: Feature, names: Names = NAMES) -> dict[str, dict]:
    found = grants.documents(permissions.of(*features), names)
    return {f"{document['kind']} {document['name']}": document for document in found}


def test_jobs_get_one_account_with_policies_for_the_gvc() -> None:
    found = _documents(Feature.JOBS)
    assert list(found) == [
        "serviceaccount prefect-worker",
        "policy prefect-worker-gvc-dev",
        "policy prefect-worker-workload-dev",
        "policy prefect-worker-volumeset-dev",
    ]
    policy = found["policy prefect-worker-workload-dev"]
    assert policy["targetQuery"] == IN_DEV
    (binding,) = policy["bindings"]
    assert binding["principalLinks"] == ["//serviceaccount/prefect-worker"]
    assert set(binding["permissions"]) == {
        "create",
        "view",
        "delete",
        "exec.runCronWorkload",
        "exec.stopReplica",
    }
    assert found["policy prefect-worker-gvc-dev"]["targetLinks"] == ["//gvc/dev"]


def test_logs_are_for_the_account_and_never_for_an_identity() -> None:
    readers = [
        link
        for document in grants.documents(permissions.of(*Feature), NAMES)
        for binding in document.get("bindings", ())
        if "readLogs" in binding["permissions"]
        for link in binding["principalLinks"]
    ]
    assert readers == ["//serviceaccount/prefect-worker"]


def test_identities_come_first_and_policies_last() -> None:
    found = grants.documents(permissions.of(*STANDARD), NAMES)
    kinds = [document["kind"] for document in found]
    assert kinds == sorted(kinds, key=["identity", "serviceaccount", "policy"].index)
    assert [document["name"] for document in found[:3]] == [
        "prefect-worker",
        "cpln-flows-sync",
        "cpln-flows-cleanup",
    ]
    assert len({(document["kind"], document["name"]) for document in found}) == len(found)


def test_documents_are_valid_for_cpln_apply() -> None:
    found = grants.documents(permissions.of(*Feature), NAMES)
    placed = objects.placed((("", document) for document in found), org="acme", gvc=None)
    assert {item.path for item in placed if item.kind == "identity"} == {
        f"/org/acme/gvc/dev/identity/{name}"
        for name in ("prefect-worker", "cpln-flows-sync", "cpln-flows-cleanup")
    }
    # The clean-up deletes what carries the tag of Prefect.
    assert not any("tags" in document for document in found)


def test_one_key_leaves_out_the_identities_and_what_is_included_elsewhere() -> None:
    names = Names("acme", "dev", one_key=True)
    found = _documents(*STANDARD, names=names)
    assert [name for name in found if name.startswith("identity")] == ["identity prefect-worker"]
    assert found["policy prefect-worker-org-dev"]["bindings"][0]["permissions"] == ["readLogs"]
    workloads = [found[f"policy prefect-worker-workload-{end}"] for end in ("dev", "all-dev")]
    assert ["view" in policy["bindings"][0]["permissions"] for policy in workloads] == [False, True]


def test_secrets_are_revealed_by_name_or_not_at_all() -> None:
    found = _documents(Feature.SECRETS)
    assert found["policy prefect-worker-secret-named-dev"]["targetLinks"] == ["//secret/keys"]
    without = _documents(Feature.SECRETS, names=Names("acme", "dev"))
    assert set(found) - set(without) == {"policy prefect-worker-secret-named-dev"}
    revealing = [
        document
        for document in without.values()
        for binding in document.get("bindings", ())
        if "reveal" in binding["permissions"]
    ]
    assert revealing == []


def test_whoever_provisions_is_another_account_than_the_worker() -> None:
    found = _documents(Feature.PROVISION)
    (policy,) = [one for name, one in found.items() if "serviceaccount-dev" in name]
    assert policy["bindings"][0]["principalLinks"] == ["//serviceaccount/cpln-flows-provision"]
    assert policy["targetLinks"] == [
        "//serviceaccount/prefect-worker",
        "//serviceaccount/cpln-flows-provision",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"org": "a/b"}, "org: expected a name, found 'a/b'", id="org"),
        pytest.param({"gvc": "/org/acme/gvc/dev"}, "gvc: expected a name", id="gvc"),
        pytest.param({"worker": "Worker"}, "name: expected 3 to 63 lower-case", id="worker"),
        pytest.param({"secrets": ("a b",)}, "secret: expected a name", id="secret"),
        pytest.param({"worker": "w" * 52}, "the name of a policy: expected 3 to 63", id="long"),
    ],
)
def test_name_that_the_platform_refuses_is_an_error(given, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        grants.documents(
            permissions.of(Feature.JOBS), Names(**{"org": "acme", "gvc": "dev", **given})
        )
