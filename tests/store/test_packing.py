"""Payload columns: what stands in the row, what is kept by digest, and the way back."""

from __future__ import annotations

import pytest

from asfn._json import Payload
from asfn.store.packing import INLINE_BYTES, PayloadRows, digests, members, payloads
from tests.store.samples import LARGE_TEXT


def text_of(size_bytes: int) -> str:
    return '"' + "x" * (size_bytes - 2) + '"'


def test_texts_up_to_a_kibibyte_stand_in_the_row() -> None:
    large = PayloadRows()

    column = large.texts(1, [Payload.parse(text_of(INLINE_BYTES)), Payload.parse(' {"a" : 1} ')])

    assert large.rows == []
    assert members(column) == [text_of(INLINE_BYTES), ' {"a" : 1} ']


def test_the_measure_is_utf8_bytes_not_characters() -> None:
    large = PayloadRows()
    umlauts = Payload.parse('"' + "ü" * (INLINE_BYTES // 2) + '"')

    assert large.column(1, umlauts) == (None, umlauts.digest)


def test_a_larger_text_is_kept_once_for_an_execution() -> None:
    large = PayloadRows()
    one, same = Payload.parse(LARGE_TEXT), Payload.parse(LARGE_TEXT)

    column = large.texts(1, [one, Payload(2), same])
    pair = large.column(1, one)
    other = large.column(2, one)

    assert large.rows == [(1, one.digest, LARGE_TEXT), (2, one.digest, LARGE_TEXT)]
    assert members(column) == [{"sha256": one.digest}, "2", {"sha256": one.digest}]
    assert pair == other == (None, one.digest)


def test_no_payloads_and_no_payload_need_no_column() -> None:
    large = PayloadRows()

    assert large.texts(1, []) is None
    assert large.column(1, None) == (None, None)
    assert members(None) == []


def test_those_who_refer_to_one_text_share_one_payload() -> None:
    large = PayloadRows()
    column = members(large.texts(1, [Payload.parse(LARGE_TEXT), Payload(1)]))
    kept = {digest: Payload.parse(text) for _, digest, text in large.rows}

    first, second = payloads(column, kept), payloads(column, kept)

    assert digests([column, column]) == set(kept)
    assert first[0] is second[0]
    assert first[0].text == LARGE_TEXT
    assert first[1].value == 1


def test_a_text_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError):
        payloads([{"sha256": "gone"}], {})
