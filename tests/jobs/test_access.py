"""What a 404 of the platform says is missing."""

import pytest

from cpln_flows.errors import ConfigurationError, NotFoundError
from cpln_flows.jobs import access
from cpln_flows.model.links import GvcRef


@pytest.mark.parametrize(
    ("message", "kind", "says"),
    [
        pytest.param(
            "org 'acme' was not found",
            ConfigurationError,
            "org: there is no organization 'acme'",
            id="org",
        ),
        pytest.param(
            "Organization acme does not exist",
            ConfigurationError,
            "org: there is no organization",
            id="organization",
        ),
        pytest.param(
            "/org/acme was not found",
            ConfigurationError,
            "org: there is no organization",
            id="link-of-an-org",
        ),
        pytest.param(
            "gvc 'dev' was not found in org 'acme'",
            ConfigurationError,
            "namespace: there is no GVC 'dev'",
            id="gvc",
        ),
        pytest.param(
            "/org/acme/gvc/dev was not found",
            ConfigurationError,
            "namespace: there is no GVC",
            id="link-of-a-gvc",
        ),
        pytest.param(
            "not found",
            ConfigurationError,
            "org or namespace: there is no GVC 'dev'",
            id="nothing-is-named",
        ),
        pytest.param(
            "/org/acme/gvc/dev/identity/x was not found",
            NotFoundError,
            "check the identity that",
            id="an-identity",
        ),
        pytest.param(
            'secret "s" was not found',
            NotFoundError,
            "check the secret that the manifest refers to",
            id="a-secret",
        ),
    ],
)
def test_missing_thing_is_named_in_the_platforms_words(message, kind, says) -> None:
    answer = NotFoundError(
        status=404, method="POST", path="/org/acme/gvc/dev/workload", message=message
    )
    error = access.not_found(answer, GvcRef("acme", "dev"))
    assert type(error) is kind
    assert says in str(error)
    assert message in str(error)
