"""The Dockerfile and what reaches the builder, read as docker reads them; nothing is built here."""

import fnmatch
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "deployments/image/Dockerfile").read_text()


def _instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, rest) for name, rest in found]


INSTRUCTIONS = _instructions()


def _of(kind: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == kind]


def test_image_is_one_stage_on_prefects_own_by_a_variable() -> None:
    assert [name for name, _ in INSTRUCTIONS] == [
        *("ARG", "FROM", "ARG", "ARG", "ARG", "LABEL", "ENV", "RUN", "RUN", "WORKDIR", "USER"),
    ]
    assert _of("FROM") == ["--platform=linux/amd64 ${PREFECT_IMAGE}"]
    assert _of("ARG")[:2] == [
        "PREFECT_IMAGE=docker.io/prefecthq/prefect:3.9-python3.12",
        "PREFECT_IMAGE",
    ]


def test_image_of_prefect_satisfies_the_dependency_of_the_package() -> None:
    (dependency,) = [one for one in PROJECT["project"]["dependencies"] if one.startswith("prefect")]
    lowest = re.fullmatch(r"prefect>=([\d.]+),<4", dependency)
    assert lowest is not None
    tag = _of("ARG")[0].rpartition(":")[2]
    assert tag.split("-") == [lowest[1], "python3.12"]
    classifier = "Programming Language :: Python :: 3.12"
    assert classifier in PROJECT["project"]["classifiers"]
    assert "latest" not in DOCKERFILE


def test_version_and_licence_of_the_image_are_the_packages() -> None:
    assert f"VERSION={PROJECT['project']['version']}" in _of("ARG")
    labels = dict(re.findall(r'([a-z.]+)="([^"]*)"', _of("LABEL")[0]))
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert labels["org.opencontainers.image.licenses"] == PROJECT["project"]["license"]
    assert labels["org.opencontainers.image.title"] == PROJECT["project"]["name"]
    assert labels["org.opencontainers.image.base.name"] == "${PREFECT_IMAGE}"
    assert labels["org.opencontainers.image.description"]


def test_image_runs_as_a_user_whose_home_and_prefect_home_exist() -> None:
    assert INSTRUCTIONS[-2:] == [("WORKDIR", "/home/flows"), ("USER", "10001:10001")]
    create, _ = _of("RUN")
    assert "useradd --uid 10001 --gid 10001 " in create
    assert "--create-home --home-dir /home/flows" in create
    assert "install --directory --owner=flows --group=flows /home/flows/.prefect" in create
    assert "PREFECT_HOME=/home/flows/.prefect" in _of("ENV")[0].split()


def test_nothing_of_the_build_stays_in_the_image() -> None:
    _, install = _of("RUN")
    assert "PIP_NO_CACHE_DIR=1" in _of("ENV")[0].split()
    assert install.startswith(
        "--mount=type=bind,target=/context,readwrite --mount=type=tmpfs,target=/tmp pip install"
    )
    assert "COPY" not in dict(INSTRUCTIONS)
    assert "ADD" not in dict(INSTRUCTIONS)
    # What is imported as root would make files of root in the home of the user.
    assert "&& PREFECT_HOME=/tmp/prefect python -c" in install


def test_a_build_argument_chooses_what_is_installed() -> None:
    assert "CPLN_FLOWS=/context" in _of("ARG")
    assert 'pip install "${CPLN_FLOWS}"' in _of("RUN")[1]


def test_no_secret_is_declared_in_the_image() -> None:
    declared = " ".join([*_of("ARG"), *_of("ENV")]).upper()
    assert not re.search(r"TOKEN|SECRET|PASSWORD|_KEY|CREDENTIAL", declared)


def _reaches_the_builder(path: str) -> bool:
    """Whether docker sends a file: the last rule that matches it, or a folder above it, decides."""
    sent = True
    parts = path.split("/")
    above = ["/".join(parts[: number + 1]) for number in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if rule and not rule.startswith("#"):
            name = rule.removeprefix("!").removeprefix("**/")
            tails = above if "**/" not in rule else [*above, *parts]
            if any(fnmatch.fnmatchcase(one, name) for one in tails):
                sent = rule.startswith("!")
    return sent


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", ".env", ".ci/venv/x", ".pytest_cache/x", "tests/x.py"),
        *("benchmarks/logs.py", "docs/architecture.md", "deployments/serve.py", "dist/x.whl"),
        *("cpln_flows/__pycache__/cli.cpython-312.pyc", "cpln_flows/api/__pycache__/x.pyc"),
        *("key.json", "cpln_flows.egg-info/PKG-INFO", "uv.lock"),
    ],
)
def test_file_never_reaches_the_builder(path) -> None:
    assert not _reaches_the_builder(path)


def test_what_the_package_is_built_from_reaches_the_builder() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    named = [
        "pyproject.toml",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        *wheel["force-include"],
        *(f"{package}/__init__.py" for package in wheel["packages"] if (ROOT / package).is_dir()),
        "cpln_flows/emulator/proxy/server.py",
        "cpln_flows/examples/hello-job.yaml",
    ]
    assert [path for path in named if not (ROOT / path).is_file()] == []
    assert [path for path in named if not _reaches_the_builder(path)] == []
