"""Manifests as they stand in files: the place of a fault, and what stands beside the job."""

import pytest

from cpln_flows.errors import ManifestError
from cpln_flows.manifest.conversion import convert, parse_source

JOB = """apiVersion: batch/v1
kind: Job
metadata: {name: etl}
spec:
  template:
    spec:
      containers:
      - name: main
        image: ubuntu
        args: [one, two]
"""
CONFIG = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: conf}
data: {MODE: fast, LEVEL: "7"}
"""
SECRET = """---
apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {USER: YWRh}
stringData: {PW: hush}
"""


def _places(text: str) -> list[str]:
    found = parse_source(text, source="job.yaml")
    with pytest.raises(ManifestError) as caught:
        convert(found.document, gvc="dev")
    return [str(fault).split(": ")[0] for fault in found.located(caught.value).faults]


def _converted(*parts: str):
    return convert(parse_source("".join(parts), source="job.yaml").document, gvc="dev")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param(
            JOB + "        hostname: x\n",
            "job.yaml:11:9 spec.template.spec.containers[0].hostname",
            id="field",
        ),
        pytest.param(
            JOB.replace("[one, two]", "[one, {}]"),
            "job.yaml:10:21 spec.template.spec.containers[0].args[1]",
            id="item",
        ),
        pytest.param(
            JOB.replace("ubuntu", "$IMAGE"),
            "job.yaml:9:9 spec.template.spec.containers[0].image",
            id="value",
        ),
        pytest.param(
            JOB.replace("        image: ubuntu\n", ""),
            "job.yaml:8:9 spec.template.spec.containers[0].image",
            id="missing",
        ),
        pytest.param(
            JOB.replace("ubuntu", "ubuntu\t# tab").replace("ubuntu", "$X"),
            "job.yaml:9:9 spec.template.spec.containers[0].image",
            id="tab",
        ),
        pytest.param(
            '{\n\t"kind": "Job",\n\t"apiVersion": "v2"\n}',
            "job.yaml:3:2 apiVersion",
            id="json-with-tabs",
        ),
        pytest.param(
            CONFIG + JOB.replace("apiVersion", "---\napiVersion").replace("ubuntu", "$IMAGE"),
            "job.yaml:15:9 spec.template.spec.containers[0].image",
            id="second-document",
        ),
    ],
)
def test_fault_has_line_and_column(text, place) -> None:
    assert place in _places(text)


def test_alias_does_not_move_a_place() -> None:
    text = JOB.replace("{name: etl}", "{name: etl, labels: &l {a: b}}") + "        odd: *l\n"
    assert _places(text) == ["job.yaml:11:9 spec.template.spec.containers[0].odd"]


ENV_FROM = """        envFrom:
        - configMapRef: {name: conf}
        - {prefix: DB_, secretRef: {name: keys}}
        env:
        - {name: LEVEL, value: "8"}
        - name: MINE
          valueFrom: {configMapKeyRef: {name: conf, key: MODE}}
"""


def test_neighbors_of_the_job_fill_its_variables() -> None:
    job = _converted(JOB, ENV_FROM, CONFIG, SECRET)
    assert job.main.env == {
        "MODE": "fast",
        "DB_USER": "cpln://secret/keys.USER",
        "DB_PW": "cpln://secret/keys.PW",
        "LEVEL": "8",
        "MINE": "fast",
    }
    assert job.needs == frozenset()


def test_odd_name_of_a_variable_is_a_fault_beside_neighbors() -> None:
    odd = ENV_FROM.replace("name: LEVEL", "name: [LEVEL]")
    with pytest.raises(ManifestError, match=r"env\[\d\]\.name"):
        _converted(JOB, odd, CONFIG, SECRET)


def test_no_value_of_a_secret_leaves_its_document() -> None:
    assert "hush" not in repr(parse_source(JOB + ENV_FROM + CONFIG + SECRET, source="f").document)


def test_source_that_only_the_platform_knows_keeps_the_order() -> None:
    job = _converted(JOB, ENV_FROM, CONFIG)
    assert job.needs == {"conf", "keys"}
    assert job.main.env == {"LEVEL": "8", "MINE": "fast"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            JOB + "---\n" + JOB,
            "expected one Job, CronJob or workload, found 2 in 2 documents",
            id="two-jobs",
        ),
        pytest.param(
            CONFIG + SECRET,
            "expected one Job, CronJob or workload, found 0 in 2 documents",
            id="no-job",
        ),
        pytest.param(
            JOB + "---\nkind: Service\n",
            "found the string 'Service'; apply it by itself",
            id="something-else",
        ),
        pytest.param(JOB + "---\n- a\n", "found nothing; apply it by itself", id="no-object"),
        pytest.param(JOB + "---\nkind: []\n", "found a list; apply it by itself", id="odd-kind"),
        pytest.param(
            JOB.replace("kind: Job", "kind: {}") + CONFIG,
            "found 0 in 2 documents",
            id="odd-kind-of-the-job",
        ),
    ],
)
def test_other_documents_are_refused(text, says) -> None:
    with pytest.raises(ManifestError) as caught:
        parse_source(text, source="job.yaml")
    assert says in str(caught.value)
    assert "job.yaml" in str(caught.value)
