import pytest

from cpln_flows.errors import Fault
from cpln_flows.manifest.document import Reader, describe


def _reader(value, path="spec"):
    return Reader(value, path, [])


@pytest.mark.parametrize(
    ("read", "value", "found"),
    [
        pytest.param(lambda r: r.text("x"), "a", "a", id="text"),
        pytest.param(lambda r: r.text("x"), None, None, id="null-is-absent"),
        pytest.param(lambda r: r.number("x", 1, 3), 3, 3, id="number"),
        pytest.param(lambda r: r.choice("x", "a", "b"), "b", "b", id="choice"),
        pytest.param(lambda r: r.flag("x"), False, False, id="flag"),
        pytest.param(
            lambda r: r.texts("x"), ["a", 1, 0.5], ["a", "1", "0.5"], id="texts-and-numbers"
        ),
        pytest.param(lambda r: r.texts("x"), None, [], id="no-texts"),
        pytest.param(lambda r: r.child("x").text("y"), {"y": "z"}, "z", id="child"),
        pytest.param(lambda r: r.child("x").text("y"), None, None, id="no-child"),
        pytest.param(
            lambda r: [c.path for c in r.children("x")],
            [{}, {}],
            ["spec.x[0]", "spec.x[1]"],
            id="children",
        ),
    ],
)
def test_a_field_of_the_right_type_is_read(read, value, found) -> None:
    reader = _reader({"x": value})
    assert read(reader) == found
    reader.finish()
    assert reader.faults == []


@pytest.mark.parametrize(
    ("read", "value", "fault"),
    [
        pytest.param(
            lambda r: r.text("x", required=True),
            None,
            "spec.x: is missing; expected a string",
            id="missing",
        ),
        pytest.param(
            lambda r: r.text("x"), 1, "spec.x: expected a string, found the integer 1", id="no-text"
        ),
        pytest.param(
            lambda r: r.text("x"), [], "spec.x: expected a string, found a list", id="list-for-text"
        ),
        pytest.param(
            lambda r: r.number("x", 1, 3),
            0,
            "spec.x: expected an integer from 1 to 3, found 0",
            id="too-small",
        ),
        pytest.param(
            lambda r: r.number("x", 1, 3),
            4,
            "spec.x: expected an integer from 1 to 3, found 4",
            id="too-large",
        ),
        pytest.param(
            lambda r: r.number("x", 0, 3),
            True,
            "spec.x: expected an integer, found true",
            id="flag-for-number",
        ),
        pytest.param(
            lambda r: r.number("x", 0, 3),
            1.5,
            "spec.x: expected an integer, found the number 1.5",
            id="fraction",
        ),
        pytest.param(
            lambda r: r.choice("x", "a", "b"),
            "c",
            "spec.x: expected a or b, found the string 'c'",
            id="no-choice",
        ),
        pytest.param(
            lambda r: r.flag("x"),
            "maybe",
            "spec.x: expected a boolean, found the string 'maybe'",
            id="no-flag",
        ),
        pytest.param(
            lambda r: r.texts("x"),
            "a",
            "spec.x: expected a list, found the string 'a'",
            id="text-for-texts",
        ),
        pytest.param(
            lambda r: r.texts("x"),
            ["a", None],
            "spec.x[1]: expected a string, found nothing",
            id="null-in-texts",
        ),
        pytest.param(
            lambda r: r.texts("x"),
            [True],
            "spec.x[0]: expected a string, found true",
            id="flag-in-texts",
        ),
        pytest.param(
            lambda r: r.child("x"),
            1,
            "spec.x: expected an object, found the integer 1",
            id="no-object",
        ),
        pytest.param(
            lambda r: list(r.children("x")),
            {},
            "spec.x: expected a list, found an object",
            id="object-for-list",
        ),
        pytest.param(
            lambda r: list(r.children("x")),
            [1],
            "spec.x[0]: expected an object, found the integer 1",
            id="no-child",
        ),
        pytest.param(lambda r: r.refuse("x", "remove it"), 1, "spec.x: remove it", id="refused"),
    ],
)
def test_a_field_of_another_type_is_a_fault_with_its_path(read, value, fault) -> None:
    reader = _reader({"x": value})
    read(reader)
    reader.finish()
    assert [str(fault) for fault in reader.faults] == [fault]


@pytest.mark.parametrize("value", [None, [], {}, ""])
def test_an_empty_field_is_not_refused(value) -> None:
    reader = _reader({"x": value})
    reader.refuse("x", "remove it")
    assert reader.faults == []


def test_what_nobody_has_read_is_a_fault() -> None:
    reader = _reader({"known": 1, "accepted": 2, "null": None, "b": {}, "a": 0})
    reader.raw("known")
    reader.accept("accepted", "absent")
    reader.finish()
    assert [fault.path for fault in reader.faults] == ["spec.a", "spec.b"]


def test_children_share_the_faults_of_their_parent() -> None:
    faults: list[Fault] = []
    Reader({"a": [{"b": {}}]}, "", faults).children("a").__next__().child("b").fault("", "is wrong")
    assert faults == [Fault("a[0].b", "is wrong")]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (1, "the integer 1"),
        (0.5, "the number 0.5"),
        ("a", "the string 'a'"),
        ("x" * 100, "the string '" + "x" * 59 + "..."),
        ([1], "a list"),
        ({"a": 1}, "an object"),
        (b"", "a bytes"),
    ],
)
def test_what_was_found_is_told_in_short(value, text) -> None:
    assert describe(value) == text
