"""A pool's manifest and what a run adds to it: ours, prefect-cpln's, native, and malformed ones."""

import contextlib
import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import ConfigurationError, ManifestError
from cpln_flows.worker import template
from cpln_flows.worker.template import RunValues

VALUES = RunValues(command="prefect flow-run execute", env={"B": "2", "A": "1"}, image="flows:1")

# What Prefect leaves of the template of prefect-cpln when a deployment sets nothing but the name.
INCUMBENT = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"namespace": "dev", "generateName": "nightly-", "labels": {}},
    "spec": {
        "template": {
            "spec": {
                "parallelism": 1,
                "completions": 1,
                "restartPolicy": "Never",
                "containers": [{"name": "prefect-job"}],
            }
        }
    },
}
NATIVE = {
    "kind": "workload",
    "name": "flows",
    "spec": {
        "type": "cron",
        "containers": [{"name": "main"}, {"name": "side", "image": "proxy:1", "command": "proxy"}],
    },
}


def _main(manifest, values=VALUES):
    return template.convert(manifest, values, gvc="dev").main


@pytest.mark.parametrize(
    "manifest", [pytest.param(INCUMBENT, id="prefect-cpln"), pytest.param(NATIVE, id="native")]
)
def test_a_manifest_gets_image_command_and_environment_of_the_run(manifest) -> None:
    before = copy.deepcopy(manifest)
    main = _main(manifest)
    assert (main.image, main.command, main.args) == (
        "flows:1",
        None,
        ("prefect", "flow-run", "execute"),
    )
    assert main.env == {"A": "1", "B": "2"}
    assert manifest == before


def test_a_sidecar_of_a_native_manifest_stays_as_it_is() -> None:
    main, side = template.convert(NATIVE, VALUES, gvc="dev").containers
    assert (side.image, side.command, side.env) == ("proxy:1", "proxy", {})
    assert main.env


def test_variables_of_the_manifest_are_kept_and_those_of_the_run_win() -> None:
    manifest = copy.deepcopy(INCUMBENT)
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["env"] = [{"name": "OWN", "value": "x"}, {"name": "A", "value": "of the manifest"}]
    assert _main(manifest).env == {"OWN": "x", "A": "1", "B": "2"}
    container["env"] = {"OWN": "x", "GONE": None}
    assert _main(manifest).env == {"OWN": "x", "A": "1", "B": "2"}


def test_a_command_line_is_split_as_a_shell_would() -> None:
    manifest = copy.deepcopy(INCUMBENT)
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["args"] = "python -c 'print(1, 2)'"
    assert _main(manifest).args == ("python", "-c", "print(1, 2)")
    container["command"] = ["/entry.sh"]
    assert (_main(manifest).command, _main(manifest).args[0]) == ("/entry.sh", "python")


def test_a_native_command_line_becomes_an_executable_and_its_arguments() -> None:
    manifest = copy.deepcopy(NATIVE)
    manifest["spec"]["containers"][0]["command"] = "python -m mine"
    main = _main(manifest)
    assert (main.command, main.args) == ("python", ("-m", "mine"))


def test_a_native_manifest_that_starts_by_itself_is_refused() -> None:
    manifest = copy.deepcopy(NATIVE)
    manifest["spec"] |= {"defaultOptions": {"suspend": False}, "job": {"schedule": "0 3 * * *"}}
    with pytest.raises(ManifestError, match=r"spec\.defaultOptions\.suspend"):
        _main(manifest)


def test_every_fault_of_a_manifest_is_named_with_its_path() -> None:
    manifest = copy.deepcopy(INCUMBENT)
    manifest["spec"]["template"]["spec"]["hostNetwork"] = True
    manifest["spec"]["completions"] = 3
    with pytest.raises(ManifestError) as caught:
        _main(manifest)
    assert {fault.path for fault in caught.value.faults} == {
        "spec.template.spec.hostNetwork",
        "spec.completions",
    }


@pytest.mark.parametrize(
    ("manifest", "name"),
    [
        ({"metadata": {"generateName": "nightly-"}}, "nightly"),
        ({"metadata": {"name": "nightly"}}, "nightly"),
        ({"metadata": {"generateName": "-"}}, None),
        ({"kind": "workload", "name": "flows"}, "flows"),
        ({"metadata": None}, None),
        ({}, None),
    ],
)
def test_the_name_that_a_manifest_gives(manifest, name) -> None:
    assert template.given_name(manifest) == name


def test_a_variable_that_the_pool_does_not_have_is_named_with_what_was_meant() -> None:
    pool = {"variables": {"properties": {"image": {}, "cpu": {}}}}
    template.check_variables(pool, {"image": "x", "env.FOO": "y", "env": {}})
    with pytest.raises(ConfigurationError, match=r"'imge' \(did you mean 'image'") as caught:
        template.check_variables(pool, {"imge": "x", "zzzzzz.y": 1})
    assert "'zzzzzz'" in str(caught.value)


_WORDS = [
    "kind",
    "spec",
    "template",
    "containers",
    "env",
    "args",
    "command",
    "metadata",
    "name",
    "Job",
    "workload",
    "cron",
]
_LEAVES = st.none() | st.booleans() | st.integers() | st.sampled_from(_WORDS)


def _nested(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=5)


@given(st.dictionaries(st.sampled_from(_WORDS), st.recursive(_LEAVES, _nested, max_leaves=20)))
def test_whatever_a_manifest_is_only_its_faults_are_raised(document) -> None:
    with contextlib.suppress(ManifestError):
        template.convert(document, VALUES, gvc="dev")


@pytest.mark.parametrize("name", [["A"], {"A": 1}, None, 3])
def test_odd_name_of_a_variable_is_a_fault(name) -> None:
    manifest = copy.deepcopy(NATIVE)
    manifest["spec"]["containers"][0]["env"] = [{"name": name, "value": "x"}]
    with pytest.raises(ManifestError, match=r"env"):
        _main(manifest)
