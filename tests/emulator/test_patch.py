import pytest

from cpln_flows.emulator.answers import RefusedError
from cpln_flows.emulator.patch import apply_patch


@pytest.mark.fact("F045")
@pytest.mark.parametrize(
    ("document", "patch", "result"),
    [
        pytest.param(
            {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}, id="deep-merge"
        ),
        pytest.param(
            {"tags": {"x": 1, "y": 2}},
            {"tags": {"x": None}},
            {"tags": {"y": 2}},
            id="null-removes-a-tag",
        ),
        pytest.param({"l": [1]}, {"l": [2]}, {"l": [2]}, id="a-list-is-replaced"),
        pytest.param({"l": ["a"]}, {"$append/l": ["b"]}, {"l": ["a", "b"]}, id="append"),
        pytest.param({}, {"$append/l": ["b"]}, {"l": ["b"]}, id="append-to-nothing"),
        pytest.param({"l": ["a", "b"]}, {"$drop/l": ["a"]}, {"l": ["b"]}, id="drop-values"),
        pytest.param(
            {"l": [{"name": "a"}, {"name": "b"}]},
            {"$drop/l": ["b"]},
            {"l": [{"name": "a"}]},
            id="drop-names",
        ),
        pytest.param({"d": {"a": 1, "b": 2}}, {"$drop/d": ["a"]}, {"d": {"b": 2}}, id="drop-keys"),
        pytest.param({"a": 1, "b": 2}, {"$drop": ["a"]}, {"b": 2}, id="drop-fields"),
        pytest.param(
            {"spec": {"a": 1, "b": 2}},
            {"$replace/spec": {"c": 3}},
            {"spec": {"c": 3}},
            id="replace",
        ),
        pytest.param(
            {"l": [{"name": "a", "x": 1, "y": 2}]},
            {"$patch/l": [{"name": "a", "x": 3}, {"name": "b"}]},
            {"l": [{"name": "a", "x": 3, "y": 2}, {"name": "b"}]},
            id="patch-merges-by-name",
        ),
        pytest.param(
            {"spec": {"l": [1]}},
            {"spec": {"$append/l": [2]}},
            {"spec": {"l": [1, 2]}},
            id="operators-nest",
        ),
    ],
)
def test_a_patch_changes_a_document(document, patch, result):
    assert apply_patch(document, patch) == result


def test_a_patch_leaves_the_old_document_as_it_was():
    document = {"spec": {"l": [{"name": "a"}]}}
    apply_patch(document, {"spec": {"$append/l": [{"name": "b"}], "x": 1}})
    assert document == {"spec": {"l": [{"name": "a"}]}}


def test_an_operator_on_something_else_than_a_list_is_refused():
    with pytest.raises(RefusedError, match="must be an array"):
        apply_patch({}, {"$append/l": "x"})
