import subprocess

import pytest

from cpln_flows.deploy import machine
from cpln_flows.settings import CplnSettings
from tests.deploy.stand_ins import StandIns


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    def made(*programs: str) -> StandIns:
        found = StandIns(tmp_path / "bin", *programs)
        monkeypatch.setenv("PATH", str(found.folder))
        return found

    monkeypatch.setenv("CPLN_HOME", str(tmp_path / "cpln"))
    return made


@pytest.mark.parametrize("programs", [(), ("cpln",), ("docker",), ("cpln", "docker")])
def test_programs_are_those_on_path(programs, stand_ins) -> None:
    stand_ins(*programs)
    found = machine.observe(CplnSettings())
    assert (found.has_cpln, found.has_docker) == ("cpln" in programs, "docker" in programs)
    assert (found.has_buildx, found.has_login) == ("docker" in programs, False)


def test_docker_without_buildx_is_seen(stand_ins) -> None:
    stand_ins("docker").fail("docker buildx")
    found = machine.observe(CplnSettings())
    assert (found.has_docker, found.has_buildx) == (True, False)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(([], None, None, False), id="none"),
        pytest.param((["a"], None, None, True), id="the-only-one"),
        pytest.param((["a", "b"], None, None, False), id="which-of-two"),
        pytest.param((["a", "b"], "b", None, True), id="the-default"),
        pytest.param((["a"], "gone", None, False), id="a-default-that-is-gone"),
        pytest.param((["a", "b"], None, "a", True), id="the-named-one"),
        pytest.param((["a"], "a", "gone", False), id="a-named-one-that-is-gone"),
    ],
)
@pytest.mark.parametrize("home", ["CPLN_HOME", "XDG_CONFIG_HOME", "HOME"])
def test_profile_is_found_as_cpln_finds_it(case, home, stand_ins, tmp_path, monkeypatch) -> None:
    profiles, default, named, has_profile = case
    stand_ins("cpln")
    for variable in ("CPLN_HOME", "XDG_CONFIG_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    below = {"CPLN_HOME": ".", "XDG_CONFIG_HOME": "cpln", "HOME": ".config/cpln"}[home]
    folder = tmp_path / "settings" / below / "profiles"
    folder.mkdir(parents=True)
    monkeypatch.setenv(home, str(tmp_path / "settings"))
    for name in profiles:
        (folder / f"{name}.json").write_text("{}")
    if default:
        (folder / "default").write_text(default)
    if named:
        monkeypatch.setenv("CPLN_PROFILE", named)
    assert machine.observe(CplnSettings()).has_profile is has_profile


def test_commands_get_the_token_and_endpoint_by_their_short_names(monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_INTEGRATIONS_CPLN_TOKEN", "s.key\n")
    monkeypatch.setenv("PREFECT_INTEGRATIONS_CPLN_ENDPOINT", "https://api.example.com")
    environment = machine.command_environment(CplnSettings())
    assert environment["CPLN_TOKEN"] == "s.key"
    assert environment["CPLN_ENDPOINT"] == "https://api.example.com"
    monkeypatch.undo()
    assert "CPLN_TOKEN" not in machine.command_environment(CplnSettings())


def test_sources_are_below_the_current_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").mkdir()
    (tmp_path / "app/Dockerfile").touch()
    found = machine.source_of("app", None)
    assert (found.context, found.dockerfile) == (tmp_path / "app", tmp_path / "app/Dockerfile")
    assert (found.has_context, found.has_dockerfile) == (True, True)
    found = machine.source_of(None, "app/Dockerfile")
    assert (found.context, found.dockerfile) == (tmp_path, tmp_path / "app/Dockerfile")
    found = machine.source_of("gone", None)
    assert (found.has_context, found.has_dockerfile) == (False, False)


def _git(folder, *arguments: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *settings, *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def test_commit_is_known_only_while_nothing_has_changed(tmp_path) -> None:
    assert machine.clean_commit(tmp_path) is None
    _git(tmp_path, "init", "-q")
    assert machine.clean_commit(tmp_path) is None
    (tmp_path / "a").write_text("a")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-q", "-m", "a")
    assert machine.clean_commit(tmp_path) == _git(tmp_path, "rev-parse", "--short=12", "HEAD")
    (tmp_path / "b").touch()
    assert machine.clean_commit(tmp_path) is None
