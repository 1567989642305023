import io
import sys

import pytest
from pydantic import SecretStr

from cpln_flows.deploy.plan import Command, Plan
from cpln_flows.deploy.run import run
from cpln_flows.errors import ImageError

TOKEN = SecretStr("s.canary-run")


def _python(script: str, **fields) -> Command:
    return Command((sys.executable, "-c", script), **fields)


def test_output_of_both_streams_is_shown_with_the_command(capsys) -> None:
    run(Plan((_python("import sys; print('a'); print('b', file=sys.stderr)"),)), {}, None)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"$ {sys.executable} -c ")
    assert sorted(lines) == ["a", "b"]


def test_token_is_read_from_standard_input_and_never_shown(capsys) -> None:
    script = "import sys; print('got', sys.stdin.read(), len(sys.argv))"
    run(Plan((_python(script, takes_token=True),)), {}, TOKEN)
    assert capsys.readouterr().out.splitlines()[-1] == "got ******** 1"


def test_command_without_the_token_has_an_empty_standard_input(capsys) -> None:
    run(Plan((_python("import sys; print([sys.stdin.read()])"),)), {}, TOKEN)
    assert capsys.readouterr().out.splitlines()[-1] == "['']"


def test_failure_has_exit_code_advice_and_the_last_lines() -> None:
    script = "print('\\n'.join(map(str, range(30)))); raise SystemExit(17)"
    with pytest.raises(ImageError, match="exit code 17; try it again") as caught:
        run(Plan((_python(script, advice="try it again"),)), {}, None)
    assert caught.value.exit_code == 17
    _, second, *lines = str(caught.value).splitlines()
    assert (second, lines) == ("Last lines:", [f"  {number}" for number in range(20, 30)])


def test_nothing_runs_after_a_failure_but_the_last_command(tmp_path) -> None:
    fails, marks = _python("raise SystemExit(3)"), tmp_path / "marks"
    mark = _python(f"open({str(marks)!r}, 'a').write('x'); raise SystemExit(4)")
    with pytest.raises(ImageError) as caught:
        run(Plan((fails, mark), last=mark), {}, None)
    assert caught.value.exit_code == 3
    assert marks.read_text() == "x"


def test_failure_of_the_last_command_alone_is_reported() -> None:
    with pytest.raises(ImageError) as caught:
        run(Plan((_python("pass"),), last=_python("raise SystemExit(4)")), {}, None)
    assert caught.value.exit_code == 4


def test_program_that_is_gone_is_an_error_with_its_command(tmp_path) -> None:
    with pytest.raises(ImageError, match=r"it could not be run: .*No such file"):
        run(Plan((Command((str(tmp_path / "gone"), "x")),)), {}, None)


def test_token_for_a_program_that_reads_nothing_does_no_harm(capsys) -> None:
    command = _python("import os; os.close(0); raise SystemExit(5)", takes_token=True)
    with pytest.raises(ImageError) as caught:
        run(Plan((command,)), {}, TOKEN)
    assert caught.value.exit_code == 5


def test_interruption_ends_the_command_and_logs_out(monkeypatch, tmp_path) -> None:
    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("begun"):
                raise KeyboardInterrupt
            return len(text)

    mark = tmp_path / "mark"
    forever = _python("import time; print('begun', flush=True); time.sleep(3600)")
    monkeypatch.setattr(sys, "stdout", Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run(Plan((forever,), last=_python(f"open({str(mark)!r}, 'w')")), {}, None)
    assert mark.exists()
