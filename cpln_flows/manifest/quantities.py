"""Convert Kubernetes quantities ("500m", "1.5Gi", 2, "1e9") to whole millicores and mebibytes.

The ``limits`` module defines which amounts are allowed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction

_LENGTH = 20  # the platform's; it also bounds the arithmetic
# Two digits of exponent are more than any amount needs. Without a bound, one line could expand to
# gigabytes of digits.
_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:[eE](?P<exponent>[-+]?[0-9]{1,2})|(?P<suffix>[a-zA-Z]{1,2}))?"
)
_FACTORS: Mapping[str, Fraction] = {
    **{suffix: Fraction(10) ** power for suffix, power in {"n": -9, "u": -6, "m": -3}.items()},
    **{
        suffix: Fraction(10) ** power
        for suffix, power in {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}.items()
    },
    **{
        suffix: Fraction(2) ** power
        for suffix, power in {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}.items()
    },
}


def millicores(value: object) -> int | None:
    """Return an amount of CPU, rounded up, or ``None`` if the value is not a quantity.

    >>> millicores("0.5"), millicores("500m"), millicores(2), millicores("half")
    (500, 500, 2000, None)
    """
    amount = _parse(value)
    return None if amount is None else math.ceil(amount * 1000)


def mebibytes(value: object) -> int | None:
    """Return an amount of memory, rounded up, or ``None`` if the value is not a quantity.

    >>> mebibytes("1.5Gi"), mebibytes("128974848"), mebibytes("1G"), mebibytes("1 GB")
    (1536, 123, 954, None)
    """
    amount = _parse(value)
    return None if amount is None else math.ceil(amount / 2**20)


def exact(value: object) -> Fraction | None:
    """Return an amount in its base unit, or ``None`` if the value is not a quantity.

    >>> exact("500m"), exact("1Ki"), exact("much")
    (Fraction(1, 2), Fraction(1024, 1), None)
    """
    return _parse(value)


def _parse(value: object) -> Fraction | None:
    text = _text(value)
    match = _QUANTITY.fullmatch(text) if text is not None and len(text) <= _LENGTH else None
    if match is None:
        return None
    factor = _FACTORS.get(match["suffix"] or "")
    if factor is None:
        return None
    return Fraction(match["number"]) * Fraction(10) ** int(match["exponent"] or 0) * factor


def _text(value: object) -> str | None:
    """Return a value as it was written, because YAML reads a bare ``2`` or ``0.5`` as a number."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if abs(value) >= 10**_LENGTH else str(value)
