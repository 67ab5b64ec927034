from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn.language.timestamps import format_timestamp, is_timestamp, parse_nanoseconds, parse_timestamp


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("2016-03-14T01:59:00Z", 1457920740.0),
        ("2016-03-14T01:59:00+01:00", 1457917140.0),
        ("2016-03-14T01:59:00-00:30", 1457922540.0),
        ("2016-03-14T01:59:00.5Z", 1457920740.5),
        ("2026-11-22T14:46:59.000000Z", 1795358819.0),
        ("1969-12-31T23:59:59.250Z", -0.75),
    ],
)
def test_rfc_3339_texts_give_epoch_seconds(text: str, seconds: float) -> None:
    assert parse_timestamp(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2016-03-14",
        "2016-03-14T01:59:00",  # no zone
        "2016-12-05 21:29:29Z",  # blank instead of T
        "2016-13-05T21:29:29Z",
        "2016-02-30T21:29:29Z",
        "2016-12-05T25:29:29Z",
        "2016-12-05T24:00:00Z",
        "2016-12-05T21:60:29Z",
        "2016-12-05T21:29:60Z",
        "05-12-2016T21:29:29Z",
        "2016-12-05t21:29:29Z",
        "2016-12-05T21:29:29z",
        "2016-12-05T21:29Z",
        "2016-12-05T21:29:29.Z",
        "2016-12-05T21:29:29.1234567890Z",
        "2016-12-05T21:29:29+0100",
        "2016-12-05T21:29:29+01",
        "2016-12-05T21:29:29+19:00",
        "2016-12-05T21:29:29+01:60",
        " 2016-12-05T21:29:29Z",
        "2016-12-05T21:29:29Z\n",
        "٢٠١٦-12-05T21:29:29Z",
        "0000-01-01T00:00:00Z",
    ],
)
def test_other_texts_are_no_timestamps(text: str) -> None:
    assert parse_timestamp(text) is None
    assert not is_timestamp(text)


def test_nanoseconds_are_exact() -> None:
    assert parse_nanoseconds("2016-03-05T21:29:29.243167252Z") == 1457213369_243167252
    assert parse_nanoseconds("2016-03-05T21:29:29.243167253Z") == 1457213369_243167253


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1457920740.0, "2016-03-14T01:59:00Z"),
        (1457920740.12, "2016-03-14T01:59:00.120Z"),
        (1457920740.0004, "2016-03-14T01:59:00Z"),
        (1457920740.9996, "2016-03-14T01:59:01Z"),
        (-0.001, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_printed_in_utc_with_milliseconds_unless_zero(seconds: float, text: str) -> None:
    assert format_timestamp(seconds) == text


def test_a_time_outside_the_calendar_cannot_be_printed() -> None:
    with pytest.raises(ValueError, match="between the years"):
        format_timestamp(1e15)


@settings(deadline=None)
@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_what_is_printed_reads_as_the_same_millisecond(milliseconds: int) -> None:
    assert parse_nanoseconds(format_timestamp(milliseconds / 1000)) == milliseconds * 1_000_000


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(datetime.UTC)))
def test_reading_agrees_with_the_standard_library(moment: datetime.datetime) -> None:
    text = moment.isoformat().replace("+00:00", "Z")
    difference = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    assert parse_nanoseconds(text) == difference // datetime.timedelta(microseconds=1) * 1000


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_without_an_error(text: str) -> None:
    assert parse_nanoseconds(text) is None or text.isascii()
