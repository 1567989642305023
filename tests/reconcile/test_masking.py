"""What an artifact shows of the platform's objects: nothing that may have been meant as secret."""

import json
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpln_flows.manifest.manifest import ContainerSpec, JobManifest, spec_hash
from cpln_flows.model.identifiers import Submission, workload_tags
from cpln_flows.reconcile.masking import HIDDEN, is_reference, shown

# Each holds a word that must not come out.
TOKENS = {
    "password": "hush",
    "passphrase": "correct horse hush staple",
    "capitals": "HUSH",
    "github": "ghp_hush0123456789abcdef0123456789abcdef",
    "github-fine": "github_pat_11AHUSH_hush",
    "gitlab": "glpat-hush",
    "slack": "xoxe.xoxp-1-hush",
    "slack-hook": "https://hooks.slack.com/services/T0/B0/hush",
    "stripe": "rk_live_hush",
    "openai": "sk-proj-hush",
    "npm": "npm_hush",
    "pypi": "pypi-hush",
    "aws": "AKIAHUSHHUSHHUSH",
    "aws-secret": "hush/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "google": "AIzahush",
    "prefect": "pnu_hush",
    "platform": "s123456789abcdef.hush.hush",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.hush.hush",
    "bearer": "Bearer hush",
    "basic": "Basic hush==",
    "private-key": "-----BEGIN PRIVATE KEY-----\nhush",
    "url": "postgres://me:hush@db.example/etl",
    "url-without-user": "redis://:hush@cache",
    "signature": "https://store.example/x?sv=2024&sig=hush",
    "plain-url": "https://hush.example",
    "dsn": "Server=db;Pwd=hush;",
    "json": '{"password": "hush"}',
    "command": "mysql -phush",
    "curl": "curl -u me:hush https://x",
    "header": "X-Api: hush",
    "shell": "export A=hush; run --key hush",
    "reference-and-more": "cpln://secret/db hush",
    "reference-before": "cpln://secret/db\nhush",
    "link-and-more": "//identity/etl?hush",
    "reference-of-nothing": "cpln://hush",
    "word-and-more": "cron hush",
    "boolean-and-more": "truehush",
    "number-and-more": "1hush",
    "time": "2026-01-10T10-00-00Zhush",
}


def everywhere(value):
    """An object of the platform with a value in every place where somebody may have put one."""
    variable = {"name": "A", "value": value}
    probe = {
        "exec": {"command": ["sh", value]},
        "httpGet": {"path": value, "httpHeaders": [{"name": "X-Api", "value": value}]},
    }
    container = {
        "name": "main",
        "command": value,
        "args": ["-c", value, f"--token={value}", "--token", value],
        "env": [variable, {"name": "TOKEN", "value": value}],
        "workingDir": f"/{value}",
        "volumes": [{"uri": f"s3://{value}", "path": f"/{value}"}],
        "lifecycle": {"postStart": {"exec": {"command": [value]}}},
        "readinessProbe": probe,
        "livenessProbe": probe,
        "image": f"https://me:{value}@registry/x",
    }
    external = {
        "outboundAllowHostname": [value],
        "outboundAllowCIDR": [value],
        "http": {"inboundHeaderFilter": [{"key": value}]},
    }
    spec = {
        "type": f"cron {value}",
        "containers": [container],
        "job": {"schedule": f"* * * * {value} x", "restartPolicy": f"x{value}"},
        "firewallConfig": {"external": external},
        "extras": {"affinity": {"name": value, "kind": value, "type": [value]}},
        "identityLink": f"//identity/{value}/x",
        "unknown": {"deep": [[{"a": value}]], "name": [value + " "]},
    }
    tags = {
        "team": value,
        "cpln/specHash": f"z{value}",
        "cpln-flows/put": value,
        "cpln/createdByPrefect": value,
        f"a {value}": 1,
    }
    return {
        "kind": "workload",
        "description": value,
        "tags": tags,
        "annotations": {"a": value},
        "spec": spec,
        "data": value,
    }


@pytest.mark.parametrize("value", TOKENS.values(), ids=TOKENS)
def test_no_place_shows_a_token(value) -> None:
    assert "hush" not in json.dumps(shown(everywhere(value))).lower()


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_characters="hus", codec="utf-8"), max_size=30), st.integers(0, 30)
)
def test_no_text_is_shown_by_its_form(text, place) -> None:
    """Whatever stands around it."""
    assert "hush" not in json.dumps(shown(everywhere(f"{text[:place]}~hush~{text[place:]}")))


def test_structure_and_names_stay() -> None:
    found = shown(everywhere("hush"))
    (container,) = found["spec"]["containers"]
    assert container["env"] == [{"name": "A", "value": HIDDEN}, {"name": "TOKEN", "value": HIDDEN}]
    assert container["args"] == [HIDDEN] * 5
    assert container["readinessProbe"]["httpGet"]["httpHeaders"] == [
        {"name": "X-Api", "value": HIDDEN}
    ]
    assert found["tags"]["team"] == HIDDEN
    assert found["tags"]["(masked name 5)"] == 1


@pytest.mark.parametrize(
    "value",
    [
        *(
            "cpln://secret/database.password",
            "cpln://secret/database",
            "cpln://volumeset/data",
            "scratch://tmp",
        ),
        *(
            "//identity/etl",
            "//gvc/dev/identity/etl",
            "/org/acme/gvc/dev/workload/etl",
            "/org/acme/location/aws-eu-central-1",
        ),
        *("8080", "0.5", "-1", "86400", "true", "False", "", None, True, 8080, 0.5),
    ],
)
def test_reference_number_or_boolean_is_shown(value) -> None:
    document = {
        "env": [{"name": "A", "value": value}],
        "args": ["--option", value],
        "tags": {"a": value},
    }
    assert shown(document) == document | {"args": [HIDDEN, value]}


@pytest.mark.parametrize("value", ["123456", 123456, "0000"])
@pytest.mark.parametrize("name", ["DB_PASS", "pin", "API_KEY", "ACCESS_CODE"])
def test_number_that_is_a_password_is_masked(name, value) -> None:
    assert shown({"name": name, "value": value}) == {"name": name, "value": HIDDEN}
    assert shown({"args": [f"--{name}", value, "-p", value]})["args"] == [HIDDEN] * 4
    assert shown({"tags": {name: value}}) == {"tags": {name: HIDDEN}}


@pytest.mark.parametrize("value", ["4111111111111111", 4111111111111111, "1" * 7])
def test_long_row_of_digits_is_masked(value) -> None:
    assert shown({"name": "A", "value": value})["value"] == HIDDEN


def test_jobs_own_specification_is_shown() -> None:
    container = ContainerSpec(
        "main",
        "//image/etl:1.0",
        cpu="50m",
        memory="1Gi",
        extra={"ports": [{"number": 80, "protocol": "tcp"}]},
    )
    job = JobManifest(
        (container,),
        identity="//gvc/dev/identity/etl",
        options={"timeoutSeconds": 600},
        schedule="*/5 0-6 * * 1,2",
    )
    tags = (
        workload_tags(spec_hash=spec_hash(job), job_type="standard")
        | Submission(UUID(int=1), 3).tags
    )
    tags |= {
        "cpln-flows/put": "2026-01-10T10-00-00Z",
        "cpln-flows/role": "job",
        "cpln/relaxMemoryToCpuRatio": "true",
    }
    document = job.workload(name="etl-1", tags=tags)
    assert shown(document) == document


@pytest.mark.parametrize(
    ("image", "is_shown"),
    [
        *(
            (image, True)
            for image in (
                "python",
                "python:3.12-slim",
                "ghcr.io/a/b_c:v1.0",
                "localhost:5000/x",
                "//image/etl:1.0",
            )
        ),
        *(
            (image, True)
            for image in (
                "/org/acme/image/etl:1",
                "acme.registry.cpln.io/etl:1",
                f"a/b@sha256:{'0' * 64}",
            )
        ),
        *(
            (image, False)
            for image in (
                "me:hush@registry/x",
                "https://registry/x",
                "a b",
                "python:3?hush",
                "Hush",
                "a//b",
                "",
            )
        ),
    ],
)
def test_image_is_shown_if_it_is_one(image, is_shown) -> None:
    assert shown({"image": image})["image"] == (image if is_shown or not image else HIDDEN)


def test_block_reference_is_shown() -> None:
    for reference in (
        {"block_document_slug": "cpln-job/my-job"},
        {"block_document_id": str(UUID(int=1))},
    ):
        assert shown({"env": {"$ref": reference}}) == {"env": {"$ref": reference}}
    assert shown({"env": {"$ref": {"block_document_slug": "a hush"}}}) == {
        "env": {"$ref": {"block_document_slug": HIDDEN}}
    }
    assert shown({"env": {"$ref": "x", "a": "hush"}})["env"]["a"] == HIDDEN


def test_policy_is_shown_whole() -> None:
    policy = {
        "kind": "policy",
        "name": "etl",
        "targetKind": "secret",
        "targetLinks": ["/org/acme/secret/etl"],
        "bindings": [
            {
                "permissions": ["reveal", "exec.runCronWorkload"],
                "principalLinks": ["/org/acme/gvc/dev/identity/etl"],
            }
        ],
    }
    assert shown(policy) == policy


def test_strange_values_are_masked() -> None:
    deep: dict = {}
    for _ in range(2000):
        deep = {"a": [deep]}
    assert HIDDEN in json.dumps(shown({"a": deep, "b": b"hush", "c": object(), 7: "hush"}))


@pytest.mark.parametrize(
    "text",
    [
        "//identity/a/b",
        "/identity/a",
        "//unknown/a",
        "cpln://secret/",
        "//identity/a\n",
        "http://x",
    ],
)
def test_other_address_is_no_reference(text) -> None:
    assert not is_reference(text)
