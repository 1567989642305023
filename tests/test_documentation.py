"""What the documentation shows is run: the README's blocks, and the examples in docstrings."""

import doctest
import importlib
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client

import cpln_flows
from cpln_flows import cli
from tests.manifests import kubernetes_job, texts
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import pools
from tests.scenarios.pools import Pool

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MODULES = [
    module.name
    for module in pkgutil.walk_packages(cpln_flows.__path__, "cpln_flows.")
    if not module.name.endswith(".supervisor")
]


def _blocks(text: str, language: str) -> list[str]:
    return [
        textwrap.dedent(block)
        for block in re.findall(rf"^\s*```{language}\n(.*?)^\s*```", text, re.MULTILINE | re.DOTALL)
    ]


MAINTENANCE = ["cleanup_orphaned_workloads", "sync", "sync_cpln_to_prefect", "sync_prefect_to_cpln"]
SHELL, PYTHON = _blocks(README, "bash"), _blocks(README, "python")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(kubernetes_job("print('from a file')")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_do_what_they_show(name) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_modules_that_the_docs_name_are_there() -> None:
    named = re.findall(
        r"`([a-z_]+(?:/[a-z_]+)*\.py|[a-z_]+/[a-z_]+)`",
        (ROOT / "docs" / "architecture.md").read_text(),
    )
    assert len(named) > 20
    assert [name for name in named if not (ROOT / "cpln_flows" / name).exists()] == []


def test_the_first_two_commands_of_the_readme_are_those_that_ci_runs() -> None:
    assert [block.strip().rsplit("&& ", 1)[1] for block in SHELL[:2]] == [
        ".venv/bin/cpln-flows quickstart",
        ".venv/bin/pytest",
    ]
    assert "README.md" in (ROOT / ".ci/run").read_text()
    assert len(SHELL) == 6, "a further command needs a test"


def test_the_first_program_of_the_readme_runs_with_the_command_below_it(
    folder, prefect_api
) -> None:
    """In a shell that has no environment activated: its own python knows nothing of Prefect."""
    (folder / "nightly.py").write_text(PYTHON[0])
    program, *arguments = shlex.split(SHELL[2])
    assert program == ".venv/bin/cpln-flows"
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cpln-flows")), *arguments],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "PREFECT_API_URL": prefect_api},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert texts(done.stdout.splitlines()[-1]) == ["done"]


def test_the_plan_of_the_readme_shows_the_workload(folder, local, capsys) -> None:
    program, *arguments = shlex.split(SHELL[3])
    assert program == ".venv/bin/cpln-flows"
    assert cli.app(arguments, result_action="return_value") == 0
    assert re.search(r"workload +test-job-\w+ +is made", capsys.readouterr().out)


def test_the_pool_and_the_worker_of_the_readme_start(folder, prefect_api, local) -> None:
    create, start = SHELL[4].splitlines()
    commands = [
        create,
        "prefect work-pool get-default-base-job-template --type cpln",
        f"{start} --run-once",
    ]
    told = []
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            env=os.environ | local.environment | {"PREFECT_API_URL": prefect_api},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told.append(done.stdout + done.stderr)
    assert '"job_manifest"' in told[1]
    assert "[CPLN] Init | GVC: quickstart > Ready" in told[2]


def test_the_command_that_deploys_is_the_one_that_the_tests_run() -> None:
    variable, *command = SHELL[5].split()
    assert variable.startswith("CPLN_FLOWS_IMAGE=")
    assert command == ["prefect", "deploy", "--all", "--no-prompt"]


def test_the_flow_of_the_readme_is_deployed_with_its_image_and_runs(
    folder, prefect_api, local
) -> None:
    (program,) = [block for block in PYTHON if "build=False" in block]
    pool = Pool(local, prefect_api)
    (folder / "hello.py").write_text(program.replace('"cpln"', f'"{pool.name}"'))

    def run(*arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | {"PREFECT_API_URL": prefect_api},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    run("hello.py")
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("hello/hello")
        assert deployment.job_variables == {"image": "//image/hello:1.0"}
        run_id = client.create_flow_run_from_deployment(deployment.id).id
    # As in a container of the image: beside the file, in which the flow is.
    run("-m", "prefect", "flow-run", "execute", str(run_id))
    assert pools.read(run_id).state.is_completed()


def test_the_blocks_of_the_readme_are_saved(folder, prefect_api, local) -> None:
    exec(compile(PYTHON[1], "README.md", "exec"), {})
    job = cpln_flows.CplnJob.load("my-cpln-job")
    assert (job.org, job.namespace) == ("acme", "dev")
    assert job.credentials.config.token.get_secret_value() == "my-service-account-key"


def test_the_flow_of_the_readme_goes_on_with_the_very_next_line(prefect_api, local, capsys) -> None:
    program: dict[str, object] = {}
    exec(compile(PYTHON[2], "README.md", "exec"), program)
    run = cpln_flows.CplnJob(v1_job=kubernetes_job("for n in range(4): print('line', n)")).trigger()
    assert program["watch"](run.infrastructure_pid).lines == 2
    run.wait_for_completion()
    assert str(run.receipt) == "complete: 4 lines"
    assert texts(capsys.readouterr().out.strip()) == [f"line {n}" for n in range(4)]


def test_the_maintenance_flows_of_the_readme_show_what_they_would_do(
    prefect_api, local, capsys
) -> None:
    (program,) = [block for block in PYTHON if "sync(dry_run=True)" in block]
    exec(compile(program, "README.md", "exec"), {})
    # Runs that other tests have left on the shared server may be in the plan of the sync.
    synced, cleaned = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("dry run: ")
    ]
    assert synced.endswith("runs and jobs checked")
    assert cleaned == "dry run: 0 to delete, 0 workloads kept, 0 not read"
    assert len(PYTHON) == 7, "a further program needs a test"


def test_the_infrastructure_block_of_the_readme_runs_and_becomes_a_pool(
    prefect_api, local, capsys
) -> None:
    (program,) = [block for block in PYTHON if "CplnInfrastructure(" in block]
    exec(compile(program, "README.md", "exec"), {})
    assert " - hello" in capsys.readouterr().out
    with get_client(sync_client=True) as client:
        assert client.read_work_pool("hello").type == "cpln"


# What Prefect does at the end of a process that has started a temporary server: it logs the stop.
LAST_WORD = """
import atexit, logging
atexit.register(lambda: logging.getLogger("prefect").info("the last word"))
"""


def test_the_tests_of_the_readme_pass_and_end_quietly(pytester, prefect_api) -> None:
    (program,) = [block for block in PYTHON if "pytest_plugins" in block]
    pytester.makeini("[pytest]")
    pytester.makeconftest(LAST_WORD)
    pytester.makepyfile(program)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"],
        env=os.environ | {"PREFECT_API_URL": prefect_api},
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "1 passed" in said
    assert "the last word" in said
    assert "Logging error" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "name",
    ["CplnConfig", "CplnCredentials", "CplnJob", "run_namespaced_job", "stream_logs", *MAINTENANCE],
)
def test_the_example_of_a_public_name_runs(name, folder, prefect_api, local, monkeypatch) -> None:
    monkeypatch.setattr("builtins.print", lambda *_: None)
    public = getattr(cpln_flows, name)
    (example,) = _blocks((public.fn if hasattr(public, "fn") else public).__doc__, "python")
    exec(compile(example, name, "exec"), {"__name__": "example"})


def test_every_public_name_can_be_imported_and_is_described() -> None:
    assert sorted(cpln_flows.__all__) == cpln_flows.__all__
    for name in cpln_flows.__all__:
        assert getattr(cpln_flows, name).__doc__
    assert dir(cpln_flows) == cpln_flows.__all__
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = cpln_flows.no_such_name


def test_importing_the_package_does_not_import_prefect() -> None:
    code = "import sys, cpln_flows; print('prefect' in sys.modules, 'httpx' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "False False\n"
    )
