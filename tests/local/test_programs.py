"""Where a child process and a shell find the programs beside this interpreter."""

import os
import sys
from pathlib import Path

import pytest

from cpln_flows.local import programs

BIN = str(Path(sys.executable).parent)


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        pytest.param("/usr/bin:/bin", ["/usr/bin", "/bin"], id="not-there"),
        pytest.param(f"/usr/bin:{BIN}:/bin", ["/usr/bin", "/bin"], id="there-but-later"),
        pytest.param(BIN, [], id="alone"),
        pytest.param(None, os.defpath.split(os.pathsep), id="no-path"),
        pytest.param("", os.defpath.split(os.pathsep), id="empty-path"),
    ],
)
def test_own_programs_come_first_on_a_path(path, rest) -> None:
    first, *others = programs.search_path(path).split(os.pathsep)
    assert first == BIN
    assert [folder for folder in others if folder not in programs._folders()] == rest
    assert BIN not in others


def test_a_program_is_typed_as_the_shell_finds_it(tmp_path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    assert programs.typed("python", f"{BIN}:{tmp_path}") == "python"
    assert programs.typed("python", f"{tmp_path}:{BIN}") == f"{BIN}/python"
    assert programs.typed("python", "/nowhere") == f"{BIN}/python"
    assert programs.typed("no-such-program", "/nowhere") == "no-such-program"
