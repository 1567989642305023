"""Programs of Prefect 2: what is rewritten, what is left, and that nothing else is touched."""

import ast
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from cpln_flows import ConfigurationError
from cpln_flows.migration import programs
from cpln_flows.migration.plan import WriteFile
from cpln_flows.migration.removed import MOVED
from cpln_flows.migration.rewriting import rewrite

ROOT = Path(__file__).parents[2]
SEED = """\
import os
from prefect.infrastructure import CplnInfrastructure, CplnInfrastructureConfig

cpln_infra_config_block = CplnInfrastructureConfig(token=os.getenv("CPLN_TOKEN")) \
# Your Control Plane token here
cpln_infra_config_block.save("cpln-infra-config")
"""
DEPLOYMENT = """\
from prefect.deployments import Deployment
from prefect.infrastructure import CplnInfrastructure

block = CplnInfrastructure.load("cpln-infra")
deployment = Deployment(
    name="nightly",
    flow_name="report",
    path="/srv/flows",
    entrypoint="report.py:report",
    infrastructure=block,
    work_pool_name="agents",{more}
)
deployment.apply()
"""
DEPLOYED = """\
from prefect import flow
from cpln_flows import CplnInfrastructure

block = CplnInfrastructure.load("cpln-infra")
block.publish_as_work_pool("cpln-infra")
deployment = flow.from_source(source="/srv/flows", entrypoint="report.py:report")
deployment.deploy({arguments})
"""


REPOSITORIES = (
    'parameters={"github_repos":'
    ' ["PrefectHQ/prefect", "pydantic/pydantic", "huggingface/transformers"]}'
)


def deployed(more: str = "") -> str:
    return DEPLOYMENT.replace("{more}", f"\n    {more}," if more else "")


def left(text: str) -> list[tuple[int, str]]:
    return [(finding.line, finding.message) for finding in rewrite(text).left]


@pytest.mark.parametrize("module", MOVED)
def test_every_name_comes_from_where_it_is_now(module) -> None:
    for name, new in MOVED[module].items():
        renamed = new if new == name else f"{new} as {name}"
        assert (
            rewrite(f"from {module} import {name}\n").text == f"from cpln_flows import {renamed}\n"
        )
        assert (
            rewrite(f"from {module} import {name} as x\n").text
            == f"from cpln_flows import {new} as x\n"
        )


def test_names_of_the_table_exist() -> None:
    import cpln_flows

    for names in MOVED.values():
        for new in names.values():
            assert hasattr(cpln_flows, new)


def test_comments_and_layout_stay() -> None:
    made = rewrite(
        "# about\n\nfrom prefect_cpln.flows import run_namespaced_job  # this is a flow\n\n"
        "x = 1 ;y=2\n"
    )
    assert (
        made.text
        == "# about\n\nfrom cpln_flows import run_namespaced_job  # this is a flow\n\nx = 1 ;y=2\n"
    )
    assert [finding.line for finding in made.changed] == [3]


def test_program_that_saves_a_block_only_changes_its_import() -> None:
    expected = SEED.replace("prefect.infrastructure import", "cpln_flows import")
    assert rewrite(SEED) == rewrite(SEED)
    assert (rewrite(SEED).text, rewrite(SEED).left) == (expected, ())


@pytest.mark.parametrize(
    ("more", "arguments"),
    [
        pytest.param("", "", id="nothing-more"),
        pytest.param('tags=["a"]', ', tags=["a"]', id="tags"),
        pytest.param(
            'infra_overrides={"image": "x"}', ', job_variables={"image": "x"}', id="overrides"
        ),
        pytest.param("is_schedule_active=False", ", paused=True", id="inactive"),
    ],
)
def test_deployment_becomes_one_of_a_work_pool(more, arguments) -> None:
    made = rewrite(deployed(more))
    expected = DEPLOYED.replace(
        "{arguments}", f'name="nightly", work_pool_name="cpln-infra"{arguments}'
    )
    assert ast.dump(ast.parse(made.text)) == ast.dump(ast.parse(expected))
    assert made.left == ()
    assert rewrite(made.text).text == made.text


@pytest.mark.parametrize(
    ("schedule", "argument"),
    [
        ('CronSchedule(cron="0 3 * * *")', 'cron="0 3 * * *"'),
        ("IntervalSchedule(interval=hour)", "interval=hour"),
        ('RRuleSchedule(rrule="FREQ=DAILY")', 'rrule="FREQ=DAILY"'),
    ],
)
def test_schedule_becomes_its_keyword(schedule, argument) -> None:
    name = schedule.partition("(")[0]
    text = f"from prefect.client.schemas.schedules import {name}\n" + deployed(
        f"schedule={schedule}"
    )
    assert argument in rewrite(text).text


def test_long_call_is_written_on_lines() -> None:
    made = rewrite(deployed(REPOSITORIES))
    assert "deployment.deploy(\n    name=" in made.text
    compile(made.text, "made", "exec")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(
            ("deployment.apply()\n", "print(deployment)\ndeployment.apply()\n"),
            "used for more than one",
            id="used-twice",
        ),
        pytest.param(
            ("deployment.apply()\n", ""), "used for more than one call", id="never-applied"
        ),
        pytest.param(
            ('"cpln-infra")', "name)"), "infrastructure is not a block", id="name-unknown"
        ),
        pytest.param(
            ("    infrastructure=block,\n", ""), "it has no keyword infrastructure", id="no-block"
        ),
        pytest.param(
            ('    work_pool_name="agents",', "    triggers=[],"),
            "no replacement is known for triggers",
            id="unknown-keyword",
        ),
        pytest.param(
            ('    work_pool_name="agents",', "    schedule=every(),"),
            "no replacement is known for schedule",
            id="own-schedule",
        ),
        pytest.param(
            ("block = C", "flow = 1\nblock = C"),
            "the name flow has another meaning here",
            id="own-flow",
        ),
        pytest.param(
            ("block = C", "block = None\nblock = C"),
            "infrastructure is not a block",
            id="block-bound-twice",
        ),
    ],
)
def test_what_is_not_understood_is_left_with_its_line(change, reason) -> None:
    text = deployed().replace(*change)
    assert text != deployed()
    made = rewrite(text)
    assert "= Deployment(" in made.text
    assert "from prefect.deployments import Deployment" in made.text
    line = text[: text.index("Deployment(\n")].count("\n") + 1
    assert [(finding.line, reason in finding.message) for finding in made.left] == [(line, True)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import prefect.agent\n", 1),
        ("x = 1\nfrom prefect.filesystems import S3\n", 2),
        ("from prefect.infrastructure import KubernetesJob\n", 1),
        ("from prefect.infrastructure import *\n", 1),
        ("from prefect.task_runners import SequentialTaskRunner\n", 1),
        ("from prefect.deployments import Deployment\nDeployment.build_from_flow(x)\n", 2),
    ],
)
def test_what_prefect_3_does_not_have_is_listed(text, line) -> None:
    assert [found for found, _ in left(text)] == [line]
    assert rewrite(text).text == text


def test_mixed_import_is_split() -> None:
    made = rewrite("from prefect.infrastructure import CplnInfrastructure, KubernetesJob\n")
    assert (
        made.text == "from cpln_flows import CplnInfrastructure\n"
        "from prefect.infrastructure import KubernetesJob\n"
    )
    assert len(made.left) == 1


def test_code_in_a_function_keeps_its_indent() -> None:
    body = deployed(REPOSITORIES)
    imports, _, rest = body.partition("\n\n")
    text = f"{imports}\n\ndef main():\n" + "".join(f"    {line}\n" for line in rest.splitlines())
    made = rewrite(text)
    compile(made.text, "made", "exec")
    assert made.left == ()


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("cpln_flows/**/*.py"))[::6], ids=lambda path: path.stem
)
def test_other_programs_stay_to_the_letter(path) -> None:
    text = path.read_text()
    made = rewrite(text)
    assert (made.text, made.changed, made.left) == (text, (), ())


@pytest.mark.parametrize(
    "text",
    [
        "def (",
        "print 'a'",
        "\x00",
        "(" * 5_000,
        "-" * 5_000 + "1",
        "x" + ".y" * 5_000,
        "f(" * 190 + ")" * 190,
    ],
)
def test_no_python_is_refused(text) -> None:
    item = programs.decide("old.py", text)
    assert (item.verdict, item.actions) == ("refused", ())
    assert "is not Python that can be parsed" in item.refused[0]


def test_program_is_written_as_it_was_shown(tmp_path) -> None:
    path = tmp_path / "program.py"
    path.write_text(deployed())
    (item,) = programs.read([path])
    (action,) = item.actions
    assert isinstance(action, WriteFile)
    assert path.read_text() == deployed()
    programs.write(action)
    assert path.read_text() == action.after
    with pytest.raises(ConfigurationError, match="has changed since it was read"):
        programs.write(action)


def test_line_ends_of_other_systems_stay(tmp_path) -> None:
    path = tmp_path / "program.py"
    path.write_bytes(b"from prefect_cpln.jobs import CplnJob\r\nx = 1\r\n")
    (item,) = programs.read([path])
    programs.write(item.actions[0])
    assert path.read_bytes() == b"from cpln_flows import CplnJob\r\nx = 1\r\n"


def test_files_that_cannot_be_read_are_named(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.py: cannot be read: No such file"):
        programs.read([tmp_path / "none.py"])
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigurationError, match=r"latin\.py: is not UTF-8"):
        programs.read([tmp_path / "latin.py"])


def test_without_libcst_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "libcst", None)
    monkeypatch.delitem(sys.modules, "cpln_flows.migration.rewriting", raising=False)
    monkeypatch.delattr("cpln_flows.migration.rewriting", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'cpln-flows\[migrate\]'"):
        programs.decide("x.py", dedent("x = 1\n"))
