"""`cpln-flows policy`: a table, YAML for `cpln apply`, JSON, and what to do about logs."""

import json

import pytest
import yaml

from cpln_flows import cli
from cpln_flows.provision import grants, permissions
from cpln_flows.provision.grants import Names
from cpln_flows.provision.permissions import STANDARD, Feature

PLACE = ("--org", "acme", "--gvc", "dev")


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command; return its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "160")

    def policy(*arguments: str) -> tuple[int, str, str]:
        code = cli.app(["policy", *arguments], result_action="return_value")
        return code, *capsys.readouterr()

    return policy


def test_table_shows_permissions_with_their_calls(run) -> None:
    code, text, _ = run("jobs", *PLACE)
    assert code == 0
    rows = [line.split() for line in text.splitlines() if line.startswith("jobs ")]
    assert [row[3] for row in rows] == [need.permission for need in permissions.of(Feature.JOBS)]
    assert "DELETE …/workload/NAME" in text


def test_table_ends_with_what_to_do_about_logs(run) -> None:
    _, text, _ = run("jobs", "logs", *PLACE, "--name", "etl-worker")
    words = " ".join(text.split())
    assert "The token that the platform injects into a workload (CPLN_TOKEN) reads no logs" in words
    for command in (
        "cpln-flows policy jobs logs --org acme --gvc dev --name etl-worker --format yaml",
        "cpln apply --file policy.yaml --org acme",
        "cpln serviceaccount add-key etl-worker",
        "cpln secret create-opaque --name etl-worker-key",
        "PREFECT_INTEGRATIONS_CPLN_TOKEN=cpln://secret/etl-worker-key.payload",
    ):
        assert command in words


def test_yaml_has_documents_and_commented_advice(run) -> None:
    code, text, _ = run(*PLACE, "--format", "yaml", "--secret", "keys", "--secret", "more")
    assert code == 0
    names = Names("acme", "dev", secrets=("keys", "more"))
    wanted = grants.documents(permissions.of(*STANDARD), names)
    assert list(yaml.safe_load_all(text)) == wanted
    assert "# The token that the platform injects" in text


def test_json_has_permissions_documents_and_advice(run) -> None:
    _, text, _ = run("sync", *PLACE, "--format", "json")
    found = json.loads(text)
    assert found["documents"][0]["kind"] == "identity"
    (stop,) = [one for one in found["permissions"] if one["permission"] == "exec.stopReplica"]
    assert stop["holder"] == "//gvc/dev/identity/cpln-flows-sync"
    assert stop["why"] == "the stop of a job whose flow run is over"
    (advice,) = found["advice"]
    assert "with gvc='dev'" in advice


def test_place_comes_from_the_environment(run, monkeypatch) -> None:
    code, _, error = run("jobs", "--gvc", "dev")
    assert (code, "give --org and --gvc" in error) == (1, True)
    monkeypatch.setenv("CPLN_ORG", "/org/acme")
    monkeypatch.setenv("CPLN_GVC", "dev")
    code, text, _ = run("jobs")
    assert (code, "/org/acme; … is /gvc/dev" in text) == (0, True)


def test_name_that_is_too_long_is_reported(run) -> None:
    code, text, error = run("jobs", *PLACE, "--name", "w" * 60, "--format", "yaml")
    assert (code, text) == (1, "")
    assert error.startswith("cpln-flows: the name of a policy: expected 3 to 63")
