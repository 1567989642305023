"""Whether an identity may reveal what its job uses, told from the policies."""

import pytest

from cpln_flows.jobs.grants import not_revealed
from cpln_flows.model.resources import PlatformPolicy

IDENTITY = "/org/acme/gvc/dev/identity/etl"
USED = frozenset({"db", "api"})


def policy(
    *permissions: str, principals=(IDENTITY,), kind: str = "secret", **target
) -> PlatformPolicy:
    binding = {"permissions": list(permissions), "principalLinks": list(principals)}
    return PlatformPolicy.parse(
        {"name": "p", "targetKind": kind, "bindings": [binding], **target}, source="test"
    )


BOTH = {"targetLinks": ["/org/acme/secret/db", "//secret/api"]}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        pytest.param([], USED, id="no-policy"),
        pytest.param([policy("reveal", **BOTH)], set(), id="reveal"),
        pytest.param([policy("manage", **BOTH)], set(), id="what-includes-reveal"),
        pytest.param([policy("view", "use", **BOTH)], USED, id="what-does-not-include-reveal"),
        pytest.param([policy("reveal", targetLinks=["//secret/db"])], {"api"}, id="one-of-two"),
        pytest.param(
            [
                policy("reveal", targetLinks=["//secret/db"]),
                policy("edit", targetLinks=["//secret/api"]),
            ],
            set(),
            id="two-policies",
        ),
        pytest.param(
            [policy("reveal", principals=["//gvc/dev/identity/etl"], **BOTH)],
            set(),
            id="short-link",
        ),
        pytest.param(
            [policy("reveal", principals=["//gvc/prod/identity/etl"], **BOTH)],
            USED,
            id="identity-of-another-gvc",
        ),
        pytest.param([policy("manage", kind="workload", **BOTH)], USED, id="another-kind"),
        pytest.param([policy("reveal", target="all")], set(), id="all-secrets"),
        pytest.param(
            [policy("reveal", targetQuery={"spec": {"match": "all", "terms": []}})],
            set(),
            id="query-is-unknown",
        ),
        pytest.param([policy("reveal", targetLinks=None)], USED, id="no-targets"),
    ],
)
def test_secrets_that_no_policy_lets_reveal(policies, expected) -> None:
    assert not_revealed(policies, IDENTITY, "acme", USED) == expected
