"""Turn pydantic's errors into one sentence per field: the field, the expectation, the finding.

A sentence shows a value only where it cannot be a secret: never the value of a token, nor of
anything that contains one. Of other fields it shows only short and plain values.
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
        subject: The owner of the fields; the message begins with it.
        error: The error that pydantic raised.
        known: The fields that exist.
        rename: Returns the name by which users know a field.
    """
    # The errors carry the input, which may be a secret, so only a few are formatted, one by one.
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
        case "value_error" | "assertion_error":  # our own, and complete
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
    ClearErrors = ABCMeta  # the base of pydantic's own metaclass
else:

    class ClearErrors(type(BaseModel)):
        """Metaclass of models that raise a ``ConfigurationError`` when a user constructs them.

        Where pydantic constructs a model (Prefect loads a stored one, or a field holds the values
        of another model), it gets its own error, because it derives others from it.
        """

        def __call__(cls, *args, **kwargs):
            """Create an instance."""
            __tracebackhide__ = True
            if (
                inspect.currentframe().f_back.f_globals.get("__name__", "").partition(".")[0]
                == "pydantic"
            ):
                return super().__call__(*args, **kwargs)
            known = cls.model_fields
            for name in kwargs.keys() - known.keys():  # Prefect's blocks keep unknown fields
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
