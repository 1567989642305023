import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.manifest.quantities import mebibytes, millicores

MEBI = 2**20


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        pytest.param("500m", 500, id="milli"),
        pytest.param("0.5", 500, id="fraction"),
        pytest.param(".5", 500, id="fraction-without-zero"),
        pytest.param("2.", 2000, id="point-without-fraction"),
        pytest.param(2, 2000, id="whole-number"),
        pytest.param(0.5, 500, id="number"),
        pytest.param("+1", 1000, id="sign"),
        pytest.param("1e3", 1_000_000, id="exponent"),
        pytest.param("1E-1", 100, id="negative-exponent"),
        pytest.param(1e-07, 1, id="number-that-is-written-with-an-exponent"),
        pytest.param("1k", 1_000_000, id="kilo"),
        pytest.param("100u", 1, id="rounded-up"),
        pytest.param("250000001n", 251, id="nano-rounded-up"),
        pytest.param("0", 0, id="zero"),
        pytest.param("-1", None, id="negative"),
        pytest.param("1 m", None, id="blank"),
        pytest.param("half", None, id="word"),
        pytest.param("", None, id="nothing"),
        pytest.param("1e999", None, id="huge-exponent"),
        pytest.param("1" * 21, None, id="too-long"),
        pytest.param("1K", None, id="no-such-suffix"),
        pytest.param("\N{FULLWIDTH DIGIT ONE}", None, id="digit-of-another-script"),
        pytest.param(True, None, id="truth-value"),
        pytest.param(None, None, id="null"),
        pytest.param(10**5000, None, id="number-without-end"),
        pytest.param(math.nan, None, id="not-a-number"),
        pytest.param(math.inf, None, id="infinite"),
        pytest.param(["1"], None, id="list"),
    ],
)
def test_amounts_of_cpu(value, amount) -> None:
    assert millicores(value) == amount


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        pytest.param("128Mi", 128, id="mebi"),
        pytest.param("1.5Gi", 1536, id="gibi"),
        pytest.param("1M", 1, id="mega-rounded-up"),
        pytest.param("1G", 954, id="giga"),
        pytest.param("128974848", 123, id="bytes"),
        pytest.param(134217728, 128, id="number-of-bytes"),
        pytest.param("1Ei", 2**40, id="exbi"),
        pytest.param("1E", 10**18 // MEBI + 1, id="exa-is-no-exponent"),
        pytest.param("1e3", 1, id="exponent"),
        pytest.param("128974848000m", 123, id="milli-as-kubernetes-writes-it"),
        pytest.param("1 GB", None, id="words"),
        pytest.param("1mi", None, id="wrong-case"),
    ],
)
def test_amounts_of_memory(value, amount) -> None:
    assert mebibytes(value) == amount


@given(st.integers(0, 10**15))
def test_what_we_write_is_read_as_the_same_amount(amount) -> None:
    assert millicores(f"{amount}m") == amount
    assert mebibytes(f"{amount}Mi") == amount


SUFFIXES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


@given(st.integers(0, 10**9), st.integers(0, 999), st.sampled_from(sorted(SUFFIXES)))
def test_no_amount_is_ever_rounded_down(whole, thousandths, suffix) -> None:
    exact = (Fraction(whole) + Fraction(thousandths, 1000)) * SUFFIXES[suffix]
    read = mebibytes(f"{whole}.{thousandths:03}{suffix}")
    assert read is not None
    assert 0 <= read * MEBI - exact < MEBI


@given(st.text() | st.integers() | st.floats())
def test_anything_is_an_amount_or_nothing(value) -> None:
    for read in (millicores, mebibytes):
        amount = read(value)
        assert amount is None or amount >= 0
