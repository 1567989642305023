"""Rewrite a program for Prefect 2 as a syntax tree, changing only what is fully understood."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import libcst as cst
from libcst.helpers import get_full_name_for_node
from libcst.metadata import MetadataWrapper, PositionProvider

from cpln_flows.migration.removed import DROPPED, GONE, KEYWORDS, MOVED

_PACKAGE = "cpln_flows"
_DEPLOYMENT, _FLOW, _APPLY = "Deployment", "flow", "apply"
_OF_DEPLOYMENT = frozenset({"prefect.deployments", "prefect.deployments.deployments"})
_NEEDED = frozenset({"name", "path", "entrypoint", "infrastructure"})
_READ = DROPPED | _NEEDED | {"work_pool_name"}
_SCHEDULES = {"CronSchedule": "cron", "IntervalSchedule": "interval", "RRuleSchedule": "rrule"}
_LINE_LENGTH = 88
_MOST_LEVELS = 300
_TOO_DEEP = "it is nested too deeply"


@dataclass(frozen=True)
class Finding:
    """A finding about one line: what was changed in it, or what is left to do."""

    line: int
    message: str


@dataclass(frozen=True)
class Rewritten:
    """A program after the rewriting of everything that is understood.

    Attributes:
        text: The program.
        changed: What was changed.
        left: What Prefect 3 does not have, and what to do about it.
    """

    text: str
    changed: tuple[Finding, ...]
    left: tuple[Finding, ...]


def rewrite(text: str) -> Rewritten:
    r"""Rewrite a program.

    Args:
        text: The program.

    Raises:
        ValueError: The text is not Python.

    Example:
        >>> rewrite("from prefect_cpln.jobs import CplnJob\n").text
        'from cpln_flows import CplnJob\n'
    """
    _check(text)
    try:
        return _rewritten(cst.parse_module(text))
    except cst.ParserSyntaxError as error:
        raise ValueError(
            f"line {error.raw_line}, column {error.raw_column}: {error.message}"
        ) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _rewritten(module: cst.Module) -> Rewritten:
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    survey = _Survey(wrapper.module)
    wrapper.visit(survey)
    survey.judge()
    rewriting = _Rewriting(survey)
    made = wrapper.module.visit(rewriting)
    return Rewritten(made.code, _sorted(rewriting.changed), _sorted(survey.left))


def _check(text: str) -> None:
    """Refuse what Python cannot parse, or what is nested so deeply that libcst would crash."""
    try:
        level: list[ast.AST] = [ast.parse(text)]
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except (MemoryError, RecursionError, ValueError) as error:
        raise ValueError(str(error) or _TOO_DEEP) from None
    for _ in range(_MOST_LEVELS):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(set(findings), key=lambda finding: (finding.line, finding.message)))


@dataclass
class _Deployed:
    """A ``Deployment`` in the program.

    Attributes:
        variable: The variable that it is assigned to.
        keywords: Its arguments.
        line: The line in which it is made.
        wrong: Why it is not rewritten.
    """

    variable: str | None
    keywords: Mapping[str, cst.BaseExpression]
    line: int
    wrong: str | None = None

    @property
    def block(self) -> str | None:
        """The variable that holds its infrastructure block."""
        found = self.keywords.get("infrastructure")
        return found.value if isinstance(found, cst.Name) else None


@dataclass
class _Names:
    """How often names are bound and used, and the names of saved blocks by their variables."""

    bound: Counter[str] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    blocks: dict[str, str] = field(default_factory=dict)
    applied: Counter[str] = field(default_factory=Counter)


class _Survey(cst.CSTVisitor):
    """Survey what a program imports, which deployments it makes, and what becomes of them."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, module: cst.Module) -> None:
        super().__init__()
        self.module = module
        self.names = _Names()
        self.imported: dict[str, str] = {}
        self.deployments: dict[cst.Call, _Deployed] = {}
        self.lines: dict[cst.CSTNode, int] = {}
        self.left: list[Finding] = []
        self._uses_of_class: list[int] = []

    @property
    def is_rewritten(self) -> bool:
        """Whether every deployment is rewritten, so that the class needs no import anymore."""
        return bool(self.deployments) and len(self._uses_of_class) == len(self.rewritten)

    @property
    def rewritten(self) -> dict[str, _Deployed]:
        """The deployments that are rewritten, by their variables."""
        return {
            found.variable: found
            for found in self.deployments.values()
            if found.variable and not found.wrong
        }

    def line_of(self, node: cst.CSTNode) -> int:
        """Return the line in which a node begins."""
        return int(self.get_metadata(PositionProvider, node).start.line)

    def visit_SimpleStatementLine(self, node: cst.SimpleStatementLine) -> None:
        """Record the line of a statement, and a deployment that it applies."""
        self.lines[node] = self.line_of(node)
        if (variable := applied(node)) is not None:
            self.names.applied[variable] += 1

    def visit_Import(self, node: cst.Import) -> bool:
        """List imports of modules that are gone; names in an import do not count as uses."""
        for alias in node.names:
            name = get_full_name_for_node(alias.name) or ""
            self._list_gone(node, name, name)
        return False

    def visit_ImportFrom(self, node: cst.ImportFrom) -> bool:
        """Record what names stand for; list gone ones. Names in an import do not count as uses."""
        module = _module(node)
        if isinstance(node.names, cst.ImportStar):
            self._list_gone(node, module, f"{module}.*")
            return False
        for alias in node.names:
            name = get_full_name_for_node(alias.name) or ""
            self.imported[_bound_to(alias)] = f"{module}.{name}"
            is_class = module in _OF_DEPLOYMENT and name == _DEPLOYMENT
            if not is_class and name not in MOVED.get(module, {}):
                self._list_gone(node, f"{module}.{name}", f"{module}.{name}", module)
        return False

    def visit_Assign(self, node: cst.Assign) -> None:
        """Record a saved block or a deployment that is assigned to a variable."""
        target = node.targets[0].target if len(node.targets) == 1 else None
        if not isinstance(target, cst.Name) or not isinstance(node.value, cst.Call):
            return
        called = node.value
        if self._is_class(called.func):
            self.deployments[called] = _Deployed(
                target.value, _keywords(called), self.line_of(called)
            )
        elif (
            isinstance(called.func, cst.Attribute)
            and called.func.attr.value == "load"
            and self._is_block(called.func.value)
        ):
            self._name_block(target.value, called)

    def visit_Call(self, node: cst.Call) -> None:
        """Record the name under which a block is saved."""
        if (
            isinstance(node.func, cst.Attribute)
            and node.func.attr.value == "save"
            and isinstance(node.func.value, cst.Name)
        ):
            self._name_block(node.func.value.value, node)

    def visit_Name(self, node: cst.Name) -> None:
        """Count a name."""
        self.names.used[node.value] += 1
        if self.imported.get(node.value, "").removesuffix(f".{_DEPLOYMENT}") in _OF_DEPLOYMENT:
            self._uses_of_class.append(self.line_of(node))

    def visit_AssignTarget(self, node: cst.AssignTarget) -> None:
        """Count an assignment to a name."""
        if isinstance(node.target, cst.Name):
            self.names.bound[node.target.value] += 1

    def judge(self) -> None:
        """Decide which deployments are rewritten, and list the others."""
        for found in self.deployments.values():
            found.wrong = self._wrong(found)
            if found.wrong:
                self.left.append(
                    Finding(
                        found.line,
                        f"{GONE['prefect.deployments.Deployment']}; not rewritten: {found.wrong}",
                    )
                )
        known = {found.line for found in self.deployments.values()}
        others = [line for line in self._uses_of_class if line not in known]
        self.left += [Finding(line, GONE["prefect.deployments.Deployment"]) for line in others]

    def _wrong(self, found: _Deployed) -> str | None:
        """Return why a deployment is not understood, or ``None`` if it is."""
        names, variable = self.names, found.variable or ""
        if missing := sorted(_NEEDED - found.keywords.keys()):
            return f"it has no keyword {', '.join(missing)}"
        others = {name: value for name, value in found.keywords.items() if name not in _READ}
        if unknown := sorted(
            name
            for name, value in others.items()
            if not keyword_of_deploy(name, value, self.imported)
        ):
            return f"no replacement is known for {', '.join(unknown)}"
        if found.block not in names.blocks or names.bound[found.block or ""] != 1:
            return "infrastructure is not a block that this program loads or saves under a name"
        if (
            names.bound[variable] != 1
            or names.applied[variable] != 1
            or names.used[variable] != len(("made", "applied"))
        ):
            return f"{variable} is used for more than one call of {_APPLY}()"
        if self.imported.get(_FLOW, "prefect.flow") != "prefect.flow" or names.bound[_FLOW]:
            return f"the name {_FLOW} has another meaning here"
        return None

    def _is_class(self, node: cst.BaseExpression) -> bool:
        found = self.imported.get(node.value, "") if isinstance(node, cst.Name) else ""
        return found.removesuffix(f".{_DEPLOYMENT}") in _OF_DEPLOYMENT

    def _is_block(self, node: cst.BaseExpression) -> bool:
        return isinstance(node, cst.Name) and self.imported.get(node.value, "").endswith(
            ".CplnInfrastructure"
        )

    def _name_block(self, variable: str, call: cst.Call) -> None:
        first = call.args[0].value if call.args else None
        if isinstance(first, cst.SimpleString) and isinstance(name := first.evaluated_value, str):
            self.names.blocks[variable] = name

    def _list_gone(self, node: cst.CSTNode, name: str, shown: str, module: str = "") -> None:
        reason = GONE.get(name) or GONE.get(module)
        if reason is not None:
            self.left.append(Finding(self.line_of(node), f"{shown}: {reason}"))


class _Rewriting(cst.CSTTransformer):
    """Rewrite what a survey has understood."""

    def __init__(self, survey: _Survey) -> None:
        super().__init__()
        self.changed: list[Finding] = []
        self._survey = survey
        self._published: set[str] = set()
        self._has_flow = survey.imported.get(_FLOW) == "prefect.flow"

    def leave_SimpleStatementLine(
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> (
        cst.SimpleStatementLine | cst.FlattenSentinel[cst.SimpleStatementLine] | cst.RemovalSentinel
    ):
        """Rewrite one statement."""
        if len(original_node.body) != 1:
            return updated_node
        statement, line = original_node.body[0], self._survey.lines[original_node]
        made: list[cst.SimpleStatementLine] | None = None
        if isinstance(statement, cst.ImportFrom) and not isinstance(
            statement.names, cst.ImportStar
        ):
            made = self._import(statement, line)
        elif isinstance(statement, cst.Assign) and isinstance(statement.value, cst.Call):
            made = self._deployment(statement, line)
        elif (variable := applied(original_node)) in self._survey.rewritten:
            made = [self._deploy(str(variable), line)]
        if made is None:
            return updated_node
        return (
            cst.FlattenSentinel(_in_place_of(updated_node, made))
            if made
            else cst.RemoveFromParent()
        )

    def _import(self, statement: cst.ImportFrom, line: int) -> list[cst.SimpleStatementLine] | None:
        module, moved, kept, made = _module(statement), [], [], []
        for alias in statement.names if not isinstance(statement.names, cst.ImportStar) else ():
            name = get_full_name_for_node(alias.name) or ""
            if (new := MOVED.get(module, {}).get(name)) is not None:
                bound = _bound_to(alias)
                moved.append(new if new == bound else f"{new} as {bound}")
            elif not (
                module in _OF_DEPLOYMENT and name == _DEPLOYMENT and self._survey.is_rewritten
            ):
                kept.append(name if _bound_to(alias) == name else f"{name} as {_bound_to(alias)}")
            elif not self._has_flow:
                self._has_flow = True
                made.append(_statement("from prefect import flow"))
        names = statement.names if not isinstance(statement.names, cst.ImportStar) else ()
        if len(kept) == len(names):
            return None
        if moved:
            made.append(_statement(f"from {_PACKAGE} import {', '.join(moved)}"))
        if kept:
            made.append(_statement(f"from {module} import {', '.join(kept)}"))
        self.changed.append(
            Finding(line, f"imports of {module} come from where these names are now")
        )
        return made

    def _deployment(self, statement: cst.Assign, line: int) -> list[cst.SimpleStatementLine] | None:
        found = (
            self._survey.deployments.get(statement.value)
            if isinstance(statement.value, cst.Call)
            else None
        )
        if found is None or found.wrong or found.block is None or found.variable is None:
            return None
        pool, made = self._survey.names.blocks[found.block], []
        if found.block not in self._published:
            self._published.add(found.block)
            made.append(_statement(f"{found.block}.publish_as_work_pool({_quoted(pool)})"))
        arguments = {"source": found.keywords["path"], "entrypoint": found.keywords["entrypoint"]}
        made.append(_statement(f"{found.variable} = {self._call('flow.from_source', arguments)}"))
        self.changed.append(
            Finding(
                line, f"the deployment becomes one of the work pool {pool!r}, made of its block"
            )
        )
        return made

    def _deploy(self, variable: str, line: int) -> cst.SimpleStatementLine:
        found = self._survey.rewritten[variable]
        pool = self._survey.names.blocks[found.block or ""]
        arguments: dict[str, cst.BaseExpression] = {"name": found.keywords["name"]}
        arguments["work_pool_name"] = cst.SimpleString(_quoted(pool))
        for name, value in found.keywords.items():
            if (
                name != "name"
                and (made := keyword_of_deploy(name, value, self._survey.imported)) is not None
            ):
                arguments[made[0]] = made[1]
        self.changed.append(Finding(line, "apply() becomes deploy()"))
        return _statement(self._call(f"{variable}.deploy", arguments))

    def _call(self, function: str, arguments: Mapping[str, cst.BaseExpression]) -> str:
        written = [
            f"{name}={self._survey.module.code_for_node(value)}"
            for name, value in arguments.items()
        ]
        line = f"{function}({', '.join(written)})"
        if len(line) <= _LINE_LENGTH and "\n" not in line:
            return line
        return "\n".join([f"{function}(", *(f"    {argument}," for argument in written), ")"])


def applied(node: cst.SimpleStatementLine) -> str | None:
    """Return the variable of a statement that consists only of ``variable.apply()``."""
    expression = node.body[0] if len(node.body) == 1 else None
    call = expression.value if isinstance(expression, cst.Expr) else None
    function = call.func if isinstance(call, cst.Call) and not call.args else None
    if (
        isinstance(function, cst.Attribute)
        and function.attr.value == _APPLY
        and isinstance(function.value, cst.Name)
    ):
        return function.value.value
    return None


def keyword_of_deploy(
    name: str, value: cst.BaseExpression, imported: Mapping[str, str]
) -> tuple[str, cst.BaseExpression] | None:
    """Return the argument of `deploy` that replaces a keyword of a Deployment, if one is known.

    Args:
        name: The keyword.
        value: Its value.
        imported: What the names in the program stand for.
    """
    if name in KEYWORDS:
        return KEYWORDS[name], value
    if (
        name == "is_schedule_active"
        and isinstance(value, cst.Name)
        and value.value in {"True", "False"}
    ):
        return "paused", cst.Name("False" if value.value == "True" else "True")
    if name == "schedule" and isinstance(value, cst.Call) and isinstance(value.func, cst.Name):
        kind = _SCHEDULES.get(imported.get(value.func.value, "").rpartition(".")[2])
        arguments = _keywords(value)
        return (kind, arguments[kind]) if kind is not None and arguments.keys() == {kind} else None
    return None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _in_place_of(
    line: cst.SimpleStatementLine, made: list[cst.SimpleStatementLine]
) -> Iterator[cst.SimpleStatementLine]:
    """Yield statements with the comments of the line that they replace."""
    first, *more = made
    lines = [first.with_changes(leading_lines=line.leading_lines), *more]
    lines[-1] = lines[-1].with_changes(trailing_whitespace=line.trailing_whitespace)
    yield from lines


def _statement(code: str) -> cst.SimpleStatementLine:
    made = cst.parse_statement(code)
    if not isinstance(made, cst.SimpleStatementLine):
        raise TypeError(code)
    return made


def _keywords(call: cst.Call) -> dict[str, cst.BaseExpression]:
    """Return the arguments of a call; one without a name gets a name that no call has."""
    return {
        argument.keyword.value
        if argument.keyword is not None
        else f"argument {index + 1}": argument.value
        for index, argument in enumerate(call.args)
    }


def _module(node: cst.ImportFrom) -> str:
    name = get_full_name_for_node(node.module) if node.module is not None else ""
    return "." * len(node.relative) + (name or "")


def _bound_to(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name
