"""What pydantic says of wrong fields, as one sentence of ours for each: the field, what was expected, what was found.

A value is shown only where it cannot be a secret: never of a token, nor of what holds one, and of other fields only what is
short and plain.
"""

from __future__ import annotations

import inspect
from abc import ABCMeta
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from cpln_flows.errors import ConfigurationError
from cpln_flows.model import suggestions
from cpln_flows.model.display import shown

_HIDDEN = frozenset(
    {"token", "config", "credentials", "v1_job", "job_manifest", "env", "labels", "command"}
)
_MOST = 20


def configuration_error(
    subject: str,
    error: ValidationError,
    *,
    known: Collection[str] = (),
    rename: Callable[[str], str] = str,
) -> ConfigurationError:
    """Return the error for wrong fields.

    Args:
        subject: What the fields are of, which the message begins with.
        error: What pydantic says.
        known: The fields that there are.
        rename: Says what users call a field.
    """
    # The errors hold the input, which may be a secret; only a few of them are looked at, one by one.
    found = error.errors(include_url=False, include_context=False)
    said = [_sentence(each, known, rename) for each in found[:_MOST]]
    more = f"; and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return ConfigurationError(f"{subject}: {'; '.join(said)}{more}")


def _sentence(
    error: Mapping[str, Any], known: Collection[str], rename: Callable[[str], str]
) -> str:
    first, *rest = [str(part) for part in error["loc"]] or [""]
    name = ".".join([rename(first), *rest]) if first else ""
    said = f"{name}: {_what(error, first, known)}" if name else _what(error, first, known)
    return said.removesuffix(".")


def _what(error: Mapping[str, Any], field: str, known: Collection[str]) -> str:
    message = str(error["msg"])
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            close = suggestions.near(field, known)
            return "is not a field" + (
                f"; did you mean {close!r}?" if close else f"; there are {', '.join(sorted(known))}"
            )
        case "value_error" | "assertion_error":  # of ours, and whole
            return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    expected = message.removeprefix("Input should be ").split(", ", 1)[0]
    if expected.startswith(("greater", "less")):
        expected = f"a value {expected}"
    return f"expected {expected}, found {_found(error)}"


def _found(error: Mapping[str, Any]) -> str:
    value = error.get("input")
    if isinstance(value, bool | int | float | str) and not _HIDDEN & {
        str(part) for part in error["loc"]
    }:
        return shown(value)
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


if TYPE_CHECKING:
    ClearErrors = ABCMeta  # of which pydantic's own metaclass is one
else:

    class ClearErrors(type(BaseModel)):
        """Metaclass of models whose construction by users raises a ``ConfigurationError``.

        Where pydantic constructs one (Prefect loads what it has stored, a field has the values of another model), it gets its own
        error, from which it makes others.
        """

        def __call__(cls, *args, **kwargs):
            """Make an instance."""
            __tracebackhide__ = True
            if (
                inspect.currentframe().f_back.f_globals.get("__name__", "").partition(".")[0]
                == "pydantic"
            ):
                return super().__call__(*args, **kwargs)
            known = cls.model_fields
            for name in kwargs.keys() - known.keys():  # Prefect's blocks keep what they do not know
                if cls.model_config.get("extra") == "allow" and (
                    close := suggestions.near(name, known.keys() - kwargs.keys())
                ):
                    raise ConfigurationError(
                        f"{cls.__name__}: {name}: is not a field; did you mean {close!r}?"
                    )
            try:
                return super().__call__(*args, **kwargs)
            except ValidationError as error:
                wrong = configuration_error(cls.__name__, error, known=known)
            raise wrong
