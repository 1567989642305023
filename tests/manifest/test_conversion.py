import copy
import json
import re
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpln_flows.emulator import PlatformConfig
from cpln_flows.emulator.checks import Problems, check_base
from cpln_flows.emulator.workload_rules import check_run, check_workload
from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert, parse_source, parse_yaml
from cpln_flows.manifest.manifest import JobManifest, spec_hash
from cpln_flows.model import identifiers
from tests.manifest.manifest_values import (
    ANYTHING,
    KUBERNETES,
    NATIVE,
    nearly_good,
    shuffled,
    yaml_texts,
)
from tests.manifests import kubernetes_job

MANY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def _refused_or_converted(document: Any):
    try:
        return convert(document, gvc="dev")
    except ManifestError as error:
        if not error.faults or not str(error).encode():
            raise
        return None


@pytest.mark.parametrize(
    ("document", "path", "says"),
    [
        pytest.param(None, "", "expected an object, found a NoneType", id="null"),
        pytest.param([KUBERNETES], "", "expected an object, found a list", id="list"),
        pytest.param({}, "kind", "found nothing", id="no-kind"),
        pytest.param(
            {"kind": "Pod"},
            "kind",
            "expected Job or CronJob (of Kubernetes) or workload (of Control Plane)",
            id="wrong-kind",
        ),
        pytest.param({"kind": "job"}, "kind", "found the string 'job'", id="wrong-case"),
        pytest.param({"kind": ["Job"]}, "kind", "found a list", id="kind-of-another-type"),
        pytest.param({"kind": "x" * 10_000}, "kind", "xxx...", id="endless-kind"),
    ],
)
def test_what_is_no_manifest_is_said(document, path, says) -> None:
    with pytest.raises(ManifestError) as caught:
        convert(document, gvc="dev")
    (fault,) = caught.value.faults
    assert fault.path == path
    assert says in fault.message


@pytest.mark.parametrize(
    ("value", "says"),
    [
        pytest.param(float("nan"), "nan is not a number in JSON", id="nan"),
        pytest.param(2**63, "more than 64 bits", id="large-number"),
        pytest.param(10**5000, "more than 64 bits", id="endless-number"),
        pytest.param(b"x", "is a bytes", id="bytes"),
        pytest.param({"x"}, "is a set", id="set"),
        pytest.param("\ud800", "an unpaired surrogate", id="surrogate"),
        pytest.param("a\0b", "NUL", id="nul"),
    ],
)
def test_what_cannot_be_sent_is_a_fault_at_its_path(value, says) -> None:
    for document, path in (
        (KUBERNETES, "spec.template.spec.containers[0].args"),
        (NATIVE, "spec.containers[0].args"),
    ):
        given_one = copy.deepcopy(document)
        (given_one["spec"].get("template") or given_one)["spec"]["containers"][0]["args"] = [
            "-c",
            value,
        ]
        with pytest.raises(ManifestError) as caught:
            convert(given_one, gvc="dev")
        assert next(
            says in fault.message for fault in caught.value.faults if fault.path == f"{path}[1]"
        )


@pytest.mark.parametrize("key", [None, 1, True, ("a",), "\ud800"])
def test_a_key_that_is_no_text_is_a_fault_of_its_object(key) -> None:
    with pytest.raises(ManifestError) as caught:
        convert({**KUBERNETES, "metadata": {"labels": {key: "x"}}}, gvc="dev")
    (fault,) = caught.value.faults
    assert fault.path == "metadata.labels"
    assert fault.message.startswith("the key ")


def test_a_document_without_end_is_refused() -> None:
    endless: dict[str, Any] = dict(KUBERNETES)
    endless["metadata"] = {"labels": endless}
    widening: list[Any] = ["x"] * 10
    for _ in range(8):
        widening = [widening] * 10
    for document, says in (
        (endless, "levels deep"),
        ({"kind": widening}, "more than 100,000 values"),
    ):
        with pytest.raises(ManifestError, match=says):
            convert(document, gvc="dev")


def test_a_tuple_is_a_list() -> None:
    document = kubernetes_job("pass")
    container = document["spec"]["template"]["spec"]["containers"][0]
    container["command"] = tuple(container["command"])
    assert convert(document, gvc="dev") == convert(kubernetes_job("pass"), gvc="dev")


@pytest.mark.parametrize("document", [KUBERNETES, NATIVE], ids=["kubernetes", "native"])
def test_conversion_changes_nothing_it_is_given_and_keeps_nothing_of_it(document) -> None:
    given_one = copy.deepcopy(document)
    job = convert(given_one, gvc="dev")
    assert given_one == document
    before = spec_hash(job)
    body = job.workload(name="w", tags={})
    body["spec"]["containers"].clear()
    body["spec"]["firewallConfig"]["external"].clear()
    (given_one["spec"].get("template") or given_one)["spec"]["containers"][0].clear()
    assert spec_hash(job) == before


@given(ANYTHING)
@MANY
def test_anything_at_all_is_converted_or_refused(document) -> None:
    _refused_or_converted(document)


@given(nearly_good(), st.booleans())
@MANY
def test_what_is_converted_is_taken_by_the_platform(document, shared) -> None:
    job = _refused_or_converted(document)
    if job is not None:
        _is_taken(job, shared=shared)


@given(yaml_texts(), st.booleans())
@MANY
def test_any_yaml_text_is_taken_or_refused_with_its_place(text, shared) -> None:
    job, error = None, None
    try:
        found = parse_source(text, source="job.yaml")
    except ManifestError as refused:
        error = refused
    else:
        try:
            job = convert(found.document, gvc="dev")
        except ManifestError as refused:
            error = found.located(refused)
            assert all(
                re.fullmatch(r"job\.yaml:\d+:\d+", fault.place or "") for fault in error.faults
            )
    if job is not None:
        _is_taken(job, shared=shared)
    else:
        assert str(error).encode()


def _is_taken(job: JobManifest, *, shared: bool) -> None:
    """Check that the local platform accepts the job, whose rules are written independently.

    Only the content of a schedule's fields is left to the platform.
    """
    if job.schedule not in ("0 3 * * *", "* * * * *"):
        return
    tags = identifiers.workload_tags(spec_hash=spec_hash(job), job_type=job.job_type)
    body = orjson.loads(orjson.dumps(job.workload(name="w-1", tags=tags, shared=shared)))
    command = {"spec": {"location": "l", "containerOverrides": job.overrides()}}
    if job.active_deadline_seconds is not None:
        command["spec"]["activeDeadlineSeconds"] = job.active_deadline_seconds
    problems = Problems()
    check_base(problems, body)
    check_workload(problems, body, PlatformConfig())
    check_run(problems, orjson.loads(orjson.dumps(command)), body, ["l"])
    assert problems.messages == []


@pytest.mark.parametrize("document", [KUBERNETES, NATIVE], ids=["kubernetes", "native"])
@given(random=st.randoms(use_true_random=False))
def test_the_order_of_keys_has_no_effect(document, random) -> None:
    job, other = convert(document, gvc="dev"), convert(shuffled(document, random), gvc="dev")
    assert spec_hash(job) == spec_hash(other)
    assert job == other


@pytest.mark.parametrize("document", [KUBERNETES, NATIVE], ids=["kubernetes", "native"])
@pytest.mark.parametrize(
    "write", [yaml.safe_dump, json.dumps, lambda value: json.dumps(value, indent=2)]
)
def test_a_manifest_is_read_as_it_was_written(document, write) -> None:
    assert parse_yaml(write(document), source="job.yaml") == document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("12:30", "12:30", id="time-of-day"),
        pytest.param("12:30:45", "12:30:45", id="time-with-seconds"),
        pytest.param("2026-01-10", "2026-01-10", id="date"),
        pytest.param("2026-13-99", "2026-13-99", id="no-date"),
        pytest.param("2026-01-10T10:00:00Z", "2026-01-10T10:00:00Z", id="moment"),
        pytest.param("010", "010", id="octal"),
        pytest.param("0x1F", "0x1F", id="hexadecimal"),
        pytest.param("1_000", "1_000", id="underscore"),
        pytest.param("1.10", "1.10", id="version"),
        pytest.param("1e3", "1e3", id="exponent"),
        pytest.param("+1", "+1", id="sign"),
        pytest.param("-0", "-0", id="negative-zero"),
        pytest.param("yes", "yes", id="yes"),
        pytest.param("off", "off", id="off"),
        pytest.param("True", "True", id="capital-true"),
        pytest.param(".inf", ".inf", id="infinite"),
        pytest.param("=", "=", id="equals"),
        pytest.param("'1'", "1", id="quotes"),
        pytest.param("1", 1, id="number"),
        pytest.param("-12", -12, id="negative-number"),
        pytest.param("0.5", 0.5, id="fraction"),
        pytest.param("1e-07", 1e-07, id="small-number-without-a-point"),
        pytest.param("9" * 18, int("9" * 18), id="long-number"),
        pytest.param("1.5e-07", 1.5e-07, id="small-number"),
        pytest.param("true", True, id="true"),
        pytest.param("false", False, id="false"),
        pytest.param("null", None, id="null"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param("!!str 1", "1", id="tag"),
        pytest.param('"\\ud83d\\ude80"', "\N{ROCKET}", id="character-as-json-escapes-it"),
    ],
)
def test_yaml_takes_for_a_number_only_what_would_be_written_like_it(text, value) -> None:
    found = parse_yaml(f"a: {text}", source="job.yaml")["a"]
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merge_keys_are_read() -> None:
    text = "base: &base {a: 1, b: 2}\nuse:\n  <<: *base\n  b: 3\n  <<: {c: 4}\nagain: *base"
    assert parse_yaml(text, source="job.yaml") == {
        "base": {"a": 1, "b": 2},
        "use": {"a": 1, "b": 3, "c": 4},
        "again": {"a": 1, "b": 2},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("a: [", "line 1, column 5", id="open-list"),
        pytest.param("a: b: c", "line 1, column 5", id="two-colons"),
        pytest.param("a:\n\tb: 1", "line 2, column 1", id="tab"),
        pytest.param(
            "a: 1\nb: {c: 1, c: 2}", "line 2, column 11: the key 'c' is given twice", id="key-twice"
        ),
        pytest.param("", "0 documents", id="empty"),
        pytest.param("# nothing", "0 documents", id="comment"),
        pytest.param("a: 1\n---\nb: 2", "2 documents", id="two-documents"),
        pytest.param("- a", "found a list", id="list"),
        pytest.param("Job", "found the string 'Job'", id="text"),
        pytest.param("a: \0", "not YAML", id="nul"),
        pytest.param(
            "a: !!python/object:os.system {}", "could not determine a constructor", id="object"
        ),
        pytest.param("a: !!timestamp x", "could not determine a constructor", id="timestamp"),
        pytest.param("a: !!int x", "does not fit the tag", id="no-number"),
        pytest.param("a: !!int ''", "does not fit the tag", id="empty-number"),
        pytest.param("a: !!bool x", "does not fit the tag", id="no-truth-value"),
        pytest.param("a: " + "9" * 5000, "a number that is too long", id="endless-number"),
        pytest.param("a: " + "9" * 30, "more than 64 bits", id="number-of-100-bits"),
        pytest.param("[" * 5000, "nested too deeply", id="deep"),
        pytest.param("? [1]\n: 2", "unhashable", id="list-as-a-key"),
        pytest.param("a: *x", "undefined alias", id="alias"),
        pytest.param("a: &a {b: *a}", "levels deep", id="circle"),
        pytest.param("a: {1: x}", "the key 1 is not a string", id="number-as-a-key"),
        pytest.param('a: "\\ud800"', "surrogate", id="surrogate"),
    ],
)
def test_what_is_no_yaml_object_is_refused_with_its_place(text, says) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_yaml(text, source="job.yaml")
    (fault,) = caught.value.faults
    assert fault.path.startswith(("job.yaml", "a"))
    assert says in str(fault)


@given(st.text() | st.text(" \n:-[]{}&*!|>'\"#%@ab01,?~<=\t", max_size=40))
@MANY
def test_any_text_is_read_or_refused(text) -> None:
    try:
        document = parse_yaml(text, source="job.yaml")
    except ManifestError as error:
        str(error).encode()
    else:
        orjson.dumps(document)


@given(nearly_good())
@MANY
def test_what_a_file_says_means_what_the_same_values_mean(document) -> None:
    try:
        text = json.dumps(document, allow_nan=False)
    except (TypeError, ValueError):
        return
    try:
        read = parse_yaml(text, source="job.yaml")
    except ManifestError:
        assert _refused_or_converted(json.loads(text)) is None
    else:
        assert _refused_or_converted(read) == _refused_or_converted(json.loads(text))
