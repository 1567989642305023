"""The steps, with stand-ins of `cpln` and `docker` on PATH."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from cpln_flows import ConfigurationError, ImageError, deploy
from cpln_flows.deploy import names
from tests.deploy.stand_ins import StandIns

ROOT = Path(__file__).parents[2]
CANARY = "s.canary-image-0123456789"
OUTPUTS = {
    "image": "//image/flows:1.0",
    "image_name": "flows",
    "tag": "1.0",
    "registry_image": "acme.registry.cpln.io/flows:1.0",
}
DEPLOY_COMMAND = "prefect.cli.deploy._core"


@pytest.fixture
def stand_ins(tmp_path, monkeypatch) -> StandIns:
    found = StandIns(tmp_path / "bin", "cpln", "docker")
    monkeypatch.setenv("PATH", str(found.folder))
    monkeypatch.setenv("CPLN_HOME", str(tmp_path / "cpln"))
    monkeypatch.setenv("CPLN_TOKEN", CANARY)
    monkeypatch.setenv("CPLN_ORG", "acme")
    monkeypatch.delitem(sys.modules, DEPLOY_COMMAND, raising=False)
    (tmp_path / "project").mkdir()
    (tmp_path / "project/Dockerfile").touch()
    monkeypatch.chdir(tmp_path / "project")
    return found


def test_image_is_built_and_pushed_with_cpln(stand_ins, tmp_path, capsys) -> None:
    assert deploy.build_image("flows", "1.0", push=True) == OUTPUTS
    folder = tmp_path / "project"
    assert stand_ins.lines == [
        (
            f"cpln image build --org acme --name flows:1.0 --dockerfile {folder}/Dockerfile"
            f" --dir {folder} --platform linux/amd64 --push"
        )
    ]
    assert "built by the stand-in cpln ********" in capsys.readouterr().out


def test_image_is_built_and_then_pushed_with_docker(stand_ins, tmp_path) -> None:
    (stand_ins.folder / "cpln").unlink()
    assert deploy.build_image("flows", "1.0", build_args={"VERSION": "2"}) == OUTPUTS
    assert deploy.push_image("flows", "1.0") == OUTPUTS
    folder = tmp_path / "project"
    assert stand_ins.lines == [
        (
            f"docker buildx build --platform linux/amd64 --file {folder}/Dockerfile"
            f" --tag acme.registry.cpln.io/flows:1.0 --build-arg VERSION=2 --load {folder}"
        ),
        "docker login acme.registry.cpln.io --username <token> --password-stdin",
        "docker push acme.registry.cpln.io/flows:1.0",
        "docker logout acme.registry.cpln.io",
    ]
    assert [call["stdin"] for call in stand_ins.calls] == ["", CANARY, "", ""]


def test_no_token_is_in_an_argument(stand_ins) -> None:
    for builder in ("cpln", "docker"):
        deploy.build_image("flows", "1.0", builder=builder, push=True)
        deploy.push_image("flows", "1.0", builder=builder)
    assert len(stand_ins.calls) == 9
    assert CANARY not in str(stand_ins.lines)
    assert {call["environment"]["CPLN_TOKEN"] for call in stand_ins.calls} == {CANARY}


def test_argument_beats_the_environment(stand_ins) -> None:
    outputs = deploy.build_image("flows", "1.0", "/org/other", builder="docker")
    assert outputs["registry_image"] == "other.registry.cpln.io/flows:1.0"


def test_missing_tag_is_the_time_outside_of_a_repository(stand_ins) -> None:
    outputs = deploy.build_image("flows")
    assert re.fullmatch(r"\d{8}T\d{6}Z", outputs["tag"])
    assert outputs["image"] == f"//image/flows:{outputs['tag']}"
    assert f"flows:{outputs['tag']} " in stand_ins.lines[0]


def test_wrong_step_runs_no_command(stand_ins, monkeypatch) -> None:
    monkeypatch.delenv("CPLN_ORG")
    with pytest.raises(ConfigurationError, match="org: none given") as caught:
        deploy.build_image("Flows", dockerfile="gone", dockefile="x")
    faults = [line.split(":")[0].strip(" -") for line in str(caught.value).splitlines()[1:]]
    assert faults == ["dockefile", "org", "name", "dockerfile"]
    with pytest.raises(ConfigurationError, match="the image cannot be pushed: tag: expected"):
        deploy.push_image("flows", 1.0, "acme")  # type: ignore[arg-type]
    assert stand_ins.calls == []


def test_failing_command_is_an_error_with_its_code(stand_ins) -> None:
    stand_ins.fail("docker push")
    with pytest.raises(ImageError, match="permission create on images") as caught:
        deploy.push_image("flows", "1.0", builder="docker")
    assert caught.value.exit_code == 17
    assert "the base image was not found" in str(caught.value)
    assert stand_ins.lines[-1] == "docker logout acme.registry.cpln.io"


def test_deploying_builds_an_image_once_and_fails_without_a_traceback(
    stand_ins, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, DEPLOY_COMMAND, names)
    first = deploy.build_image("flows")
    monkeypatch.setattr(names, "default_tag", lambda *_: "later")
    assert deploy.build_image("flows") == first
    assert [deploy.push_image("flows", "1.0") for _ in range(2)] == [OUTPUTS] * 2
    assert [line.split()[:3] for line in stand_ins.lines] == [
        ["cpln", "image", "build"],
        ["cpln", "image", "docker-login"],
        ["docker", "push", "acme.registry.cpln.io/flows:1.0"],
    ]
    assert deploy.build_image("flows", push=True)["tag"] == "later"
    with pytest.raises(SystemExit, match=r"^Error: the image cannot be built: name: "):
        deploy.build_image("Flows")
    stand_ins.fail("docker push")
    with pytest.raises(SystemExit, match=r"^Error: docker push .*: exit code 17; "):
        deploy.push_image("flows", "2.0")


def test_wrong_setting_is_reported_like_any_fault(stand_ins, monkeypatch) -> None:
    monkeypatch.setenv("CPLN_ENDPOINT", "nowhere")
    monkeypatch.setitem(sys.modules, DEPLOY_COMMAND, names)
    with pytest.raises(SystemExit, match=r"^Error: wrong setting: "):
        deploy.build_image("flows")


def test_projects_own_file_can_build_its_image(stand_ins, monkeypatch) -> None:
    document = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    (needed,) = document["definitions"]["needs_image"]
    (built,) = document["definitions"]["builds_image"]
    step = built["cpln_flows.deploy.build_image"]
    assert step.pop("id") == needed["cpln_flows.deploy.from_environment"]["id"]
    assert all(each["build"] == [needed] for each in document["deployments"])
    monkeypatch.chdir(ROOT)
    outputs = deploy.build_image(**step, tag="1.0")
    assert outputs.keys() >= needed["cpln_flows.deploy.from_environment"].keys() - {"id"}
    assert stand_ins.lines[0].endswith(
        f"--dockerfile {ROOT}/deployments/image/Dockerfile --dir {ROOT} --platform linux/amd64"
        " --push"
    )
