from __future__ import annotations

import time

import pytest

from asfn._json import Json
from asfn.language.paths import PathNotFound, compile_path
from tests.language.surroundings import NOWHERE

BOOKS: Json = {
    "limit": 10,
    "wanted": ["A", "C"],
    "books": [
        {"t": "A", "price": 8, "tags": ["x", "y"], "in": {"stock": True}},
        {"t": "B", "price": 12.5, "tags": [], "note": None},
        {"t": "C", "price": "9", "isbn": "0-1", "in": {"stock": False}},
        "just text",
        7,
    ],
}


def titles(condition: str, document: Json = BOOKS) -> Json:
    return compile_path(f"$.books[?({condition})].t").select(document, NOWHERE)


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("@.t == 'A'", ["A"]),
        ('@.t == "A"', ["A"]),
        ("'A' == @.t", ["A"]),
        ("@.t==A", ["A"]),  # a bare word, as in published machines
        ("@['t'] == 'A'", ["A"]),
        ("@.t != 'A'", ["B", "C"]),
        ("@.price < 10", ["A"]),
        ("@.price<10", ["A"]),
        ("@.price <= 8", ["A"]),
        ("@.price > 8.5", ["B", "C"]),
        ("@.price >= 12.5", ["B", "C"]),  # a number is compared with a text as texts
        ("@.price > 8.5 && @.price < 13", ["B"]),
        ("@.price < $.limit", ["A"]),
        ("@.price == 9", ["C"]),  # a number equals a text that reads as it
        ("@.price == 9.0", []),
        ("@.price === 9", []),
        ("@.price !== 9 && @.t", ["A", "B", "C"]),
        ("@.price === '9'", ["C"]),
        ("@.note == null", ["B"]),
        ("@.isbn", ["C"]),
        ("@.note", ["B"]),
        ("!@.isbn && @.t", ["A", "B"]),
        ("!(@.isbn) && @.t", ["A", "B"]),
        ("@.in.stock == true", ["A"]),
        ("@.in.stock==false", ["C"]),
        ("@.in.stock", ["A", "C"]),
        ("@.t == 'A' || @.t == 'B'", ["A", "B"]),
        ("@.t == 'A' || @.t == 'B' && @.price > 100", ["A"]),
        ("(@.t == 'A' || @.t == 'B') && @.price > 10", ["B"]),
        ("@.t=='A'||@.t=='B'", ["A", "B"]),
        ("@.t == 'A' && @.tags", ["A"]),
        ("@.t =~ /[a-b]/i", ["A", "B"]),
        ("@.t =~ /[a-b]/", []),
        ("/A|C/ =~ @.t", ["A", "C"]),
        ("@.price =~ /\\d+/", ["A", "C"]),
        ("@.in.stock =~ /true/", ["A"]),
        ("@.tags =~ /x/", ["A"]),
        ("@.isbn =~ /.*\\/?1/", ["C"]),
        ("@.t in ['A', \"B\"]", ["A", "B"]),
        ("@.t in $.wanted", ["A", "C"]),
        ("@.t IN $.wanted", ["A", "C"]),
        ("@.t nin $.wanted && @.t", ["B"]),
        ("@.t in $.missing", []),
        ("@.tags subsetof ['x','y','z']", ["A", "B"]),
        ("@.tags anyof ['y']", ["A"]),
        ("@.tags noneof ['y']", ["B"]),
        ("@.tags all ['x']", ["A"]),
        ("@.tags contains 'y'", ["A"]),
        ("@.isbn contains '-'", ["C"]),
        ("@.tags size 2", ["A"]),
        ("@.t size 1", ["A", "B", "C"]),
        ("@.tags empty true", ["B"]),
        ("@.tags empty false", ["A"]),
        ("@.tags == ['x','y']", ["A"]),
        ("@.in == {'stock': true}", ["A"]),
        ("@.tags.length() == 2", ["A"]),
        ("@.tags[0] == 'x'", ["A"]),
        ("@.tags[?(@ == 'nothing')]", ["A", "B"]),  # an empty list is there
        ("@.t == 'it\\'s'", []),
        ("@.t > 'A'", ["B", "C"]),
        ("@.price > 'A'", []),
        ("@.missing == @.other", []),
        ("@.missing != @.other", ["A", "B", "C"]),
        ("@.price == -9e0", []),
    ],
)
def test_filters_select_matching_elements(condition: str, found: Json) -> None:
    assert titles(condition) == found


def test_a_filter_on_an_object_tests_the_object_itself() -> None:
    document: Json = {"one": {"a": 1, "b": {"a": 2}}}
    assert compile_path("$.one[?(@.a == 1)]").select(document, NOWHERE) == [document["one"]]
    assert compile_path("$.one[?(@.a == 2)]").select(document, NOWHERE) == []
    assert compile_path("$.one.a[?(@ == 1)]").select(document, NOWHERE) == []


def test_a_filter_may_test_plain_elements() -> None:
    assert compile_path("$[?(@ > 1)]").select([1, 2, 3, None], NOWHERE) == [2, 3]
    assert compile_path("$[?(@ == null)]").select([None, 1], NOWHERE) == [None]


def test_a_scan_with_a_filter_finds_every_matching_object_once() -> None:
    document: Json = {"a": {"k": 1, "b": [{"k": 1}, {"k": 2}]}, "k": 1}
    found = compile_path("$..[?(@.k == 1)].k").select(document, NOWHERE)
    assert found == [1, 1, 1]


def test_a_filter_inside_a_filter_still_sees_the_document() -> None:
    document: Json = {"max": 2, "rows": [{"cells": [1, 5]}, {"cells": [1, 2]}]}
    path = compile_path("$.rows[?(@.cells[?(@ > $.max)] size 1)].cells")
    assert path.select(document, NOWHERE) == [[1, 5]]


def test_order_of_texts_is_by_utf_16_code_unit() -> None:
    assert compile_path("$[?(@ < '\uffff')]").select(["😀"], NOWHERE) == ["😀"]


@pytest.mark.parametrize(
    ("condition", "document"),
    [
        ("@ in $.a", {"a": list(range(20_000)), "books": list(range(20_000, 40_000))}),
        ("@ == $.a", {"a": [0] * 20_000, "books": [[0] * 20_000] * 100}),
        ("@ =~ /(0|1)*0(0|1){300}x/", {"books": [f"{3**20_000:b}"] * 10}),
        ("@..x size 1", {"books": [{"a": [1] * 1_000}] * 1_000}),
        ("$.books[*] size 1", {"books": [1] * 10_000}),
        ("$.books[0:9999] size 1", {"books": [1] * 10_000}),
    ],
)
def test_a_filter_made_to_hang_is_given_up_soon(condition: str, document: Json) -> None:
    started = time.process_time()
    with pytest.raises(PathNotFound, match="too many values"):
        titles(condition, document)
    assert time.process_time() - started < 10
