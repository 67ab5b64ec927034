from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn._json import Json, decode
from asfn.language.numbers import (
    _hash_code,
    distinct,
    identity,
    is_number,
    java_text,
    json_text,
    number_text,
    round_half_up,
    same,
)

_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
documents: st.SearchStrategy[Json] = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (10**30, "1" + "0" * 30),
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.1, "1.1"),
        (100.0, "100.0"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (0.00012, "1.2E-4"),
        (9999999.0, "9999999.0"),
        (10000000.0, "1.0E7"),
        (12345678.9, "1.23456789E7"),
        (1e22, "1.0E22"),
        (-1.5e300, "-1.5E300"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
    ],
)
def test_numbers_are_printed_as_java_prints_them(value: float, text: str) -> None:
    assert number_text(value) == text


def test_json_text_is_compact_and_prints_doubles_as_java() -> None:
    value: Json = {"a": [1, 1e22, {"é": None}], "b": True, 'q"': "x\n"}
    assert json_text(value) == '{"a":[1,1.0E22,{"é":null}],"b":true,"q\\"":"x\\n"}'


def test_java_text_shows_maps_and_lists_without_quotes() -> None:
    assert java_text({"Arg1": 1, "Arg2": []}) == "{Arg1=1, Arg2=[]}"
    assert java_text(["a", 1.0, None, True, {"k": [False]}]) == "[a, 1.0, null, true, {k=[false]}]"


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.49, 1), (1.5, 2), (1.51, 2), (-1.49, -1), (-1.5, -1), (-1.51, -2), (0.5, 1), (2.5, 3), (3.5, 4), (-0.5, 0),
        (-2.5, -2), (0.49999999999999994, 0), (4503599627370497.5, 4503599627370498), (1e300, int(1e300)), (7, 7),
    ],
)  # fmt: skip
def test_halves_are_rounded_towards_positive_infinity(value: float, rounded: int) -> None:
    assert round_half_up(value) == rounded


def test_booleans_are_no_numbers() -> None:
    assert is_number(1)
    assert is_number(0.5)
    assert not is_number(True)
    assert not is_number("1")


def test_equality_tells_booleans_from_numbers_but_not_1_from_1_0() -> None:
    assert same(1, 1.0)
    assert not same(True, 1)
    assert not same([0], [False])
    assert same({"a": 1, "b": [2]}, {"b": [2.0], "a": 1})
    assert not same({"a": None}, {})
    assert not same([1], [1, 2])
    assert not same([], {})


@settings(deadline=None)
@given(documents, documents)
def test_values_of_one_identity_are_the_same(left: Json, right: Json) -> None:
    assert identity(left) != identity(right) or same(left, right)
    assert identity(left) == identity(decode(json_text(left)))


def test_identity_tells_1_from_1_0_as_java_does() -> None:
    assert identity(1) != identity(1.0)
    assert identity([True]) != identity([1])


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ([], []),
        ([1, 2, 3, 3, 4], [1, 2, 3, 4]),
        (["a", "b", "a", "c", "b"], ["a", "b", "c"]),
        ([True, False, True, False], [False, True]),
        ([None, None, 1, None], [None, 1]),
        ([1, "1", 1, "01"], [1, "1", "01"]),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 1, "b": 2}]),
        ([[1, 2], [1, 2], [2, 1]], [[2, 1], [1, 2]]),
        ([20, 3], [3, 20]),
    ],
)
def test_distinct_values_come_in_the_order_of_a_java_hash_set(values: list[Json], kept: list[Json]) -> None:
    """All but the last and the first are what AWS gave."""
    assert distinct(values) == kept


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (-1, 0xFFFFFFFF), (2**31, 2**31), (-1 - 2**31, 2**31), (2**64, 961), (-(2**64), -961 & 0xFFFFFFFF),
        (1.0, 1072693248), (-0.0, 2**31), ("hello", 99162322), ("é😀", 1996812), ([], 1), ({}, 0), ({"a": None}, 97),
    ],
)  # fmt: skip
def test_hash_codes_are_javas(value: Json, code: int) -> None:
    assert _hash_code(value) == code


@settings(deadline=None)
@given(documents)
def test_json_text_reads_back_as_the_same_value(value: Json) -> None:
    assert same(decode(json_text(value)), value)
