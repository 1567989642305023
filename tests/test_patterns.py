"""Every regular expression of the package takes time in proportion to its input, whatever it is."""

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from re import _constants as constants
from re import _parser as parser

import pytest

import cpln_flows
import prefect_cpln
from cpln_flows.logs import budget

FOLDERS = [Path(package.__file__).parent for package in (cpln_flows, prefect_cpln)]
FUNCTIONS = frozenset(
    {"compile", "findall", "finditer", "fullmatch", "match", "search", "split", "sub", "subn"}
)
# In functions, from what is only known then: by whom, and why that is no danger.
AT_RUN_TIME = {
    "settings.py:_known_levels": "the user's own setting, compiled and not run",
    "logs/budget.py:__init__": "the user's own setting",
    "tasks/logs.py:_pattern": "the user's own argument",
    "api/companions.py:_ours": "names of the caller, escaped, in a pattern without ambiguity",
    "emulator/executors/mounts.py:mapped": (
        "paths of the container's own volumes, escaped, in a pattern without ambiguity"
    ),
    "emulator/faults.py:add": "the test's own fault",
    "emulator/selector.py:_compile": "looked at where the local platform is tested",
    "emulator/query.py": "looked at where the local platform is tested",
}
# Longer texts are refused before they are matched.
BOUNDED = {"cpln_flows.emulator.workload_rules._QUANTITY": 24}
SIZES = (
    16,
    24,
    2_000,
    10_000,
)  # what grows exponentially is seen at the first ones, or no test would end
MOST_SECONDS = 0.3
"""CPU time for 10,000 characters: milliseconds at most, but over a second with quadratic growth."""


def modules() -> Iterator[object]:
    for package in (cpln_flows, prefect_cpln):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.startswith("cpln_flows.examples."):
                yield importlib.import_module(info.name)


def held(value: object, name: str, depth: int = 0) -> Iterator[tuple[str, re.Pattern]]:
    """The patterns that a module's name stands for, also inside of tables and classes."""
    if isinstance(value, re.Pattern):
        yield name, value
    elif depth < 3 and isinstance(value, Mapping):
        for key, item in value.items():
            yield from held(item, f"{name}[{key!r}]", depth + 1)
    elif depth < 3 and isinstance(value, list | tuple | frozenset):
        for item in value:
            yield from held(item, name, depth + 1)
    elif depth == 0 and isinstance(value, type) and value.__module__.startswith("cpln_flows"):
        for key, item in list(vars(value).items()):  # looking at one may make another
            yield from held(item, f"{name}.{key}", depth + 1)


def calls(tree: ast.AST, where: str) -> Iterator[tuple[str, ast.Call]]:
    """The calls of ``re`` in a module, with the innermost function they are in."""
    for node in ast.iter_child_nodes(tree):
        inner = (
            f"{where}:{node.name}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            else where
        )
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if (
                name in FUNCTIONS
            ):
                yield inner, node
        yield from calls(node, inner)


def sources() -> Iterator[tuple[str, ast.Call]]:
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            yield from calls(ast.parse(path.read_text()), path.relative_to(folder).as_posix())


def uses(module: object) -> dict[str, set[str]]:
    """How a module uses its patterns: a search begins at each character, a match only once."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=pattern), attr=method)):
                found.setdefault(pattern, set()).add(method)
    return found


@pytest.fixture(scope="module")
def called() -> list[tuple[str, ast.Call]]:
    return list(sources())


@pytest.fixture(scope="module")
def patterns(called) -> dict[str, tuple[re.Pattern, set[str]]]:
    found = {}
    for module in modules():
        used = uses(module)
        for name, value in vars(module).items():
            for path, pattern in held(value, name):
                known = found.setdefault(
                    (pattern.pattern, pattern.flags), (f"{module.__name__}.{path}", pattern, set())
                )
                known[2].update(used.get(name, ()))
    for where, call in called:
        if isinstance(call.args[0], ast.Constant):
            pattern = re.compile(call.args[0].value)
            known = found.setdefault(
                (pattern.pattern, pattern.flags), (f"{where} {pattern.pattern}", pattern, set())
            )
            known[2].update({call.func.attr} - {"compile"})
    for text in budget.LEVELS:
        found[text, 0] = (f"LEVELS {text}", re.compile(text), {"search"})
    return {
        name: (pattern, methods & FUNCTIONS)
        for name, pattern, methods in found.values()
        if isinstance(pattern.pattern, str)
    }


def characters(items) -> list[str]:
    """Some characters of a class."""
    likely = [*"a0Z -_./:,\"'\\=@#[(", "\t", "é"]
    inside = re.compile("[" + "".join(map(_class, items)) + "]", re.DOTALL)
    return [character for character in likely if inside.fullmatch(character)][:3]


def _class(item) -> str:
    kind, value = item
    if kind is constants.LITERAL:
        return re.escape(chr(value))
    if kind is constants.RANGE:
        return f"{re.escape(chr(value[0]))}-{re.escape(chr(value[1]))}"
    if kind is constants.NEGATE:
        return "^"
    return {
        constants.CATEGORY_DIGIT: r"\d",
        constants.CATEGORY_SPACE: r"\s",
        constants.CATEGORY_WORD: r"\w",
    }.get(value, r"\S")


def sample(nodes) -> str:
    """A short text that fits a part of a pattern."""
    return "".join(_sample(kind, value) for kind, value in nodes)


def _sample(kind, value) -> str:
    text = ""
    match kind:
        case constants.LITERAL:
            text = chr(value)
        case constants.NOT_LITERAL:
            text = "a" if chr(value) != "a" else "b"
        case constants.ANY:
            text = "a"
        case constants.IN:
            text = (characters(value) or ["~"])[0]
        case constants.MAX_REPEAT | constants.MIN_REPEAT | constants.POSSESSIVE_REPEAT:
            text = sample(value[2]) * value[0]
        case constants.SUBPATTERN:
            text = sample(value[3])
        case constants.BRANCH:
            text = sample(value[1][0])
    return text


def attacks(nodes, before: str = "") -> Iterator[tuple[str, str]]:
    """What stands before each repeated part of a pattern, and what it can be made to repeat."""
    for kind, value in nodes:
        match kind:
            case constants.MAX_REPEAT | constants.MIN_REPEAT | constants.POSSESSIVE_REPEAT:
                body = list(value[2])
                yield before, sample(body)
                if len(body) == 1 and body[0][0] is constants.IN:
                    yield from ((before, character) for character in characters(body[0][1]))
                yield from attacks(body, before)
            case constants.SUBPATTERN:
                yield from attacks(value[3], before)
            case constants.BRANCH:
                for branch in value[1]:
                    yield from attacks(branch, before)
        before += _sample(kind, value)


def texts(pattern: re.Pattern) -> list[tuple[str, str]]:
    parsed = list(parser.parse(pattern.pattern, pattern.flags))
    whole = sample(parsed)
    found = [
        *attacks(parsed),
        ("", whole),
        ("", whole[:-1]),
        *(("", text) for text in ("a", "0", " ", "-", "a.", "0,", "/a", "\\")),
    ]
    return list(dict.fromkeys((before, pumped) for before, pumped in found if pumped))


def seconds(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def slow(pattern: re.Pattern, methods: set[str], most: int = SIZES[-1]) -> str | None:
    """The text for which a pattern takes too long, if there is one."""
    searches = bool(methods - {"match", "fullmatch"})
    works = [pattern.fullmatch, *([pattern.findall] if searches else [])]
    for before, pumped in texts(pattern):
        for size in SIZES:
            text = f"{before}{pumped * (min(size, most) // len(pumped))}\x00"
            if any(
                seconds(lambda work=work, text=text: work(text)) > MOST_SECONDS for work in works
            ):
                return f"{before!r} and {size} times {pumped!r}"
    return None


def test_time_grows_with_the_text_alone(patterns) -> None:
    assert len(patterns) > 50
    found = {
        name: slow(pattern, methods, BOUNDED.get(name, SIZES[-1]))
        for name, (pattern, methods) in patterns.items()
    }
    assert {name: text for name, text in found.items() if text} == {}


def test_every_pattern_is_known(called) -> None:
    at_run_time = {
        where
        for where, call in called
        if ":" in where and not isinstance(call.args[0], ast.Constant)
    }
    unknown = {
        where for where in at_run_time if not any(where.startswith(known) for known in AT_RUN_TIME)
    }
    assert not unknown, "say why it is no danger, or make it a constant"


@pytest.mark.parametrize(
    ("pattern", "method"),
    [(r"(a+)+$", "match"), (r"([0-9.]+)(a*[0-9]*)", "fullmatch"), (r"\s+$", "search")],
)
def test_slow_pattern_is_seen(pattern, method) -> None:
    assert slow(re.compile(pattern), {method})
