"""`prefect deploy` with the image steps, and stand-ins of `cpln` and `docker` on PATH."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client

from tests.deploy.stand_ins import StandIns
from tests.patience import PATIENCE_SECONDS
from tests.scenarios.pools import Pool

pytestmark = pytest.mark.usefixtures("prefect_api")
ROOT = Path(__file__).parents[2]
CANARY = "s.canary-scenario-image-0123456789"
FLOW = "from prefect import flow\n\n\n@flow\ndef nightly() -> None:\n    pass\n"
(README,) = [
    yaml.safe_load(block)
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    if "build_image" in block
]
(DEPLOYMENT,) = README.pop("deployments")


@pytest.fixture
def pool(local, prefect_api) -> Pool:
    return Pool(local, prefect_api)


@pytest.fixture
def stand_ins(tmp_path) -> StandIns:
    return StandIns(tmp_path / "bin", "cpln", "docker")


def _deploy(
    pool: Pool, stand_ins: StandIns, folder: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "prefect", "deploy", "--all", "--no-prompt", *arguments],
        env=os.environ
        | {
            "PREFECT_API_URL": pool.url,
            "PATH": f"{stand_ins.folder}:{os.environ['PATH']}",
            "CPLN_HOME": str(folder / "no-profile"),
            "CPLN_TOKEN": CANARY,
            "CPLN_ORG": "acme",
            # Prefect's console breaks lines at this width; errors of the steps are not broken.
            "COLUMNS": "80",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def _project(pool: Pool, folder: Path, **steps) -> Path:
    """What the README shows, with a second deployment, which shares the steps."""
    folder.mkdir()
    (folder / "nightly.py").write_text(FLOW)
    (folder / "Dockerfile").write_text("FROM acme.registry.cpln.io/flows:0.1.0\n")
    variables = DEPLOYMENT["work_pool"]["job_variables"] | {"env": {"TAG": "{{ build-image.tag }}"}}
    work_pool = {"name": pool.name, "job_variables": variables}
    deployments = [
        DEPLOYMENT | {"name": f"{name}-{pool.name}", "work_pool": work_pool}
        for name in ("one", "two")
    ]
    document = {"name": "project", **README, **steps, "deployments": deployments}
    (folder / "prefect.yaml").write_text(yaml.safe_dump(document))
    return folder


def _variables(pool: Pool) -> list[dict]:
    with get_client(sync_client=True) as client:
        return [d.job_variables for d in client.read_deployments() if d.work_pool_name == pool.name]


def test_outputs_of_the_steps_are_in_the_job_variables(pool, stand_ins, tmp_path) -> None:
    folder = _project(pool, tmp_path / "project")
    done = _deploy(pool, stand_ins, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = _variables(pool)
    tag = first["env"]["TAG"]
    assert first == second == {"image": f"//image/nightly:{tag}", "env": {"TAG": tag}}
    assert stand_ins.lines == [
        " ".join(
            [
                f"cpln image build --org acme --name nightly:{tag}",
                f"--dockerfile {folder}/Dockerfile --dir {folder} --platform linux/amd64",
            ]
        ),
        "cpln image docker-login --org acme",
        f"docker push acme.registry.cpln.io/nightly:{tag}",
    ]
    assert "built by the stand-in docker ********" in done.stdout
    assert CANARY not in str(stand_ins.lines) + done.stdout + done.stderr + str(first)


def test_docker_alone_builds_and_gets_the_token_by_standard_input(
    pool, stand_ins, tmp_path
) -> None:
    (stand_ins.folder / "cpln").unlink()
    step = {"id": "build-image", "name": "flows", "tag": "1.0", "push": True}
    folder = _project(
        pool, tmp_path / "project", build=[{"cpln_flows.deploy.build_image": step}], push=[]
    )
    done = _deploy(pool, stand_ins, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [variables["image"] for variables in _variables(pool)] == ["//image/flows:1.0"] * 2
    assert [" ".join(line.split()[:3]) for line in stand_ins.lines] == [
        "docker login acme.registry.cpln.io",
        "docker buildx build",
        "docker logout acme.registry.cpln.io",
    ]
    assert [call["stdin"] for call in stand_ins.calls] == [CANARY, "", ""]
    assert CANARY not in str(stand_ins.lines) + done.stdout + done.stderr


def test_failing_build_ends_the_command_with_one_paragraph(pool, stand_ins, tmp_path) -> None:
    stand_ins.fail("cpln image build")
    done = _deploy(pool, stand_ins, _project(pool, tmp_path / "project"))
    assert done.returncode == 1
    head, *lines = done.stderr.rstrip("\n").splitlines()
    assert head.startswith("Error: cpln image build --org acme --name nightly:")
    assert "exit code 17; the lines above have the cause; correct it and deploy again" in head
    assert lines == ["Last lines:", "  step 3 of 4", "  the base image was not found"]
    assert "Traceback" not in done.stdout + done.stderr
    assert "the base image was not found" in done.stdout
    assert _variables(pool) == []
    assert len(stand_ins.calls) == 1


def test_every_fault_of_a_step_is_in_the_error_before_any_command(
    pool, stand_ins, tmp_path
) -> None:
    step = {"name": "Flows", "tag": 1.1, "dockefile": "x", "context": "gone"}
    folder = _project(pool, tmp_path / "project", build=[{"cpln_flows.deploy.build_image": step}])
    done = _deploy(pool, stand_ins, folder)
    assert done.returncode == 1
    head, *faults = done.stderr.rstrip("\n").splitlines()
    assert head == "Error: the image cannot be built:"
    names = [fault.removeprefix("  - ").split(":")[0] for fault in faults]
    assert names == ["dockefile", "name", "tag", "context"]
    assert stand_ins.calls == []
    assert _variables(pool) == []
