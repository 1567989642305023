"""Variables that are read from secrets, ConfigMaps, fields and amounts."""

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.manifest import EnvSource
from tests.manifest.kubernetes.jobs import MAIN, converted, faults, notes

ENV = f"{MAIN}.env[0]"


def _variable(source):
    return (f"{MAIN}.env", [{"name": "A", "valueFrom": source}])


def _field(path):
    return _variable({"fieldRef": {"fieldPath": path}})


def _amount(resource, divisor=None, resources=None):
    reference = {"resource": resource} | ({"divisor": divisor} if divisor is not None else {})
    amounts = resources or {
        "limits": {"cpu": "1500m", "memory": "1Gi"},
        "requests": {"cpu": "100m"},
    }
    return _variable({"resourceFieldRef": reference}), (f"{MAIN}.resources", amounts)


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        pytest.param(
            [_variable({"secretKeyRef": {"name": "keys", "key": "pw"}})],
            "cpln://secret/keys.pw",
            id="secret",
        ),
        pytest.param(
            [_variable({"configMapKeyRef": {"name": "conf", "key": "a.b"}})],
            "cpln://secret/conf.a.b",
            id="config-map",
        ),
        pytest.param([_field("metadata.name")], "cpln://reference/metadata.name", id="name"),
        pytest.param([_field("metadata.namespace")], "dev", id="namespace"),
        pytest.param(
            [_field("metadata.labels['team']"), ("metadata.labels", {"team": "data"})],
            "data",
            id="label",
        ),
        pytest.param(
            [
                _field("metadata.annotations['a/b']"),
                ("spec.template.metadata", {"annotations": {"a/b": "c"}}),
            ],
            "c",
            id="annotation",
        ),
        pytest.param([_field("metadata.labels['none']")], "", id="label-that-is-not-there"),
        pytest.param(
            [_field("spec.serviceAccountName"), ("spec.template.spec.serviceAccountName", "etl")],
            "etl",
            id="account",
        ),
        pytest.param([_field("spec.serviceAccountName")], "default", id="default-account"),
        pytest.param(_amount("limits.cpu"), "2", id="cpu-rounded-up"),
        pytest.param(_amount("limits.cpu", "1m"), "1500", id="millicores"),
        pytest.param(_amount("requests.cpu", "1m"), "100", id="request"),
        pytest.param(_amount("limits.memory"), str(2**30), id="bytes"),
        pytest.param(_amount("limits.memory", "1Mi"), "1024", id="mebibytes"),
        pytest.param(_amount("requests.memory", "1Gi"), "1", id="request-that-is-the-limit"),
        pytest.param(_amount("limits.cpu", "0"), "2", id="divisor-of-nothing"),
        pytest.param(
            _amount("limits.memory", "1Mi", {"limits": {"cpu": "1"}}),
            "512",
            id="amount-that-was-filled-in",
        ),
    ],
)
def test_value_of_a_source(changes, value) -> None:
    assert converted(*changes).main.env == {"A": value}


@pytest.mark.parametrize(
    ("source", "path"),
    [
        pytest.param({"secretKeyRef": {"key": "pw"}}, "valueFrom.secretKeyRef.name", id="no-name"),
        pytest.param({"secretKeyRef": {"name": "keys"}}, "valueFrom.secretKeyRef.key", id="no-key"),
        pytest.param(
            {"secretKeyRef": {"name": "a.b", "key": "x"}},
            "valueFrom.secretKeyRef.name",
            id="dot-in-a-name",
        ),
        pytest.param(
            {"secretKeyRef": {"name": "keys", "key": "a/b"}},
            "valueFrom.secretKeyRef.key",
            id="odd-key",
        ),
        pytest.param(
            {"secretKeyRef": {"name": "${S}", "key": "x"}},
            "valueFrom.secretKeyRef.name",
            id="placeholder",
        ),
        pytest.param(
            {"fieldRef": {"fieldPath": "status.podIP"}},
            "valueFrom.fieldRef.fieldPath",
            id="address",
        ),
        pytest.param(
            {"fieldRef": {"fieldPath": "spec.odd"}}, "valueFrom.fieldRef.fieldPath", id="odd-field"
        ),
        pytest.param({"fieldRef": {}}, "valueFrom.fieldRef.fieldPath", id="no-field"),
        pytest.param(
            {"resourceFieldRef": {"resource": "limits.gpu"}},
            "valueFrom.resourceFieldRef.resource",
            id="odd-amount",
        ),
        pytest.param(
            {"resourceFieldRef": {}}, "valueFrom.resourceFieldRef.resource", id="no-amount"
        ),
        pytest.param(
            {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "x"}},
            "valueFrom.resourceFieldRef.divisor",
            id="divisor",
        ),
        pytest.param(
            {"resourceFieldRef": {"resource": "limits.cpu", "containerName": "b"}},
            "valueFrom.resourceFieldRef.containerName",
            id="of-another-container",
        ),
        pytest.param({"fileKeyRef": {"key": "x"}}, "valueFrom.fileKeyRef", id="file"),
        pytest.param({"oddRef": {}}, "valueFrom.oddRef", id="unknown"),
    ],
)
def test_source_that_cannot_be_had_is_one_fault(source, path) -> None:
    assert list(faults(_variable(source))) == [f"{ENV}.{path}"]


def test_value_beside_a_source_is_a_fault() -> None:
    variable = {
        "name": "A",
        "value": "x",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "pw"}},
    }
    assert list(faults((f"{MAIN}.env", [variable]))) == [f"{ENV}.valueFrom"]


def test_optional_reference_is_noted() -> None:
    job = converted(_variable({"secretKeyRef": {"name": "keys", "key": "pw", "optional": True}}))
    assert list(notes(job)) == [f"{ENV}.valueFrom.secretKeyRef.optional"]


SOURCES = [
    {"configMapRef": {"name": "conf"}},
    {"prefix": "DB_", "secretRef": {"name": "keys"}},
]
KEYS = {"conf": ["A", "B"], "keys": ["PW"], "more": ["A"]}


def test_sources_become_variables_once_their_keys_are_known() -> None:
    job = converted((f"{MAIN}.envFrom", SOURCES), (f"{MAIN}.env", [{"name": "B", "value": "mine"}]))
    assert job.main.env_from == (EnvSource("conf"), EnvSource("keys", "DB_"))
    assert job.needs == job.secrets == {"conf", "keys"}
    made = job.resolved(KEYS)
    assert made.main.env == {
        "A": "cpln://secret/conf.A",
        "B": "mine",
        "DB_PW": "cpln://secret/keys.PW",
    }
    assert (made.needs, made.secrets) == (frozenset(), {"conf", "keys"})


def test_later_source_wins() -> None:
    job = converted(
        (f"{MAIN}.envFrom", [{"secretRef": {"name": "conf"}}, {"secretRef": {"name": "more"}}])
    )
    assert job.resolved(KEYS).main.env["A"] == "cpln://secret/more.A"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        pytest.param({"keys": ["PW"]}, "there is no secret 'conf'", id="missing"),
        pytest.param(
            {"conf": ["CPLN_TOKEN"], "keys": []},
            "the key 'CPLN_TOKEN' of the secret 'conf'",
            id="reserved",
        ),
        pytest.param(
            {"conf": ["a b"], "keys": []}, "the key 'a b' of the secret 'conf'", id="odd-name"
        ),
    ],
)
def test_need_that_is_not_met_is_a_fault_at_its_place(keys, says) -> None:
    with pytest.raises(ManifestError) as caught:
        converted((f"{MAIN}.envFrom", SOURCES)).resolved(keys)
    assert [(fault.path, says in fault.message) for fault in caught.value.faults] == [
        (f"{MAIN}.envFrom[0].configMapRef", True)
    ]


@pytest.mark.parametrize(
    ("source", "path"),
    [
        pytest.param({}, "envFrom[0]", id="none"),
        pytest.param(
            {"secretRef": {"name": "abc"}, "configMapRef": {"name": "abc"}}, "envFrom[0]", id="both"
        ),
        pytest.param({"secretRef": {}}, "envFrom[0].secretRef.name", id="no-name"),
        pytest.param({"secretRef": {"name": "abc"}, "prefix": 7}, "envFrom[0].prefix", id="prefix"),
    ],
)
def test_wrong_source_of_variables_is_one_fault(source, path) -> None:
    assert list(faults((f"{MAIN}.envFrom", [source]))) == [f"{MAIN}.{path}"]
