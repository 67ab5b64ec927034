from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn.language.linear_regex import LinearRegex, RegexError


@pytest.mark.parametrize(
    ("pattern", "flags", "matching", "failing"),
    [
        ("abc", "", ["abc"], ["ab", "abcd", "xabc", "ABC"]),
        ("abc", "i", ["ABC", "aBc"], ["abd"]),
        ("(?i)abc", "", ["ABC"], ["abd"]),
        ("a.c", "", ["abc", "a😀c"], ["a\nc", "ac"]),
        ("a.c", "s", ["a\nc"], []),
        (".*@example\\.com", "", ["me@example.com"], ["me@example_com", "me@example.com.org"]),
        ("a|bc|", "", ["a", "bc", ""], ["abc"]),
        ("(ab)+", "", ["ab", "abab"], ["", "aba"]),
        ("(?:ab)*c?", "", ["", "c", "ababc"], ["cc"]),
        ("a{2}", "", ["aa"], ["a", "aaa"]),
        ("a{2,}b", "", ["aab", "aaaab"], ["ab"]),
        ("a{1,3}?", "", ["a", "aaa"], ["", "aaaa"]),
        ("[a-c]+", "", ["abc"], ["abd", ""]),
        ("[^a-c]", "", ["d", "]"], ["a"]),
        ("[]a]", "", ["]", "a"], ["b"]),
        ("[a-]", "", ["-", "a"], ["b"]),
        ("[\\d_]+", "", ["1_2"], ["a"]),
        ("\\d+\\s\\w+", "", ["12 ab_3"], ["12ab"]),
        ("\\D\\S\\W", "", ["ab-"], ["1b-"]),
        ("^a$", "", ["a"], ["aa"]),
        ("a\\b.*", "", ["a", "a b"], ["ab"]),
        ("x\\By", "", ["xy"], ["x y"]),
        ("\\x41\\u0042\\t", "", ["AB\t"], ["AB"]),
        ("(?<year>\\d{4})", "", ["2026"], ["26"]),
        ("É", "i", ["É"], ["é"]),
        ("É", "iu", ["É", "é"], ["e"]),
        ("a$\n^b", "m", ["a\nb"], ["ab"]),
    ],
)
def test_patterns_match_whole_texts(pattern: str, flags: str, matching: list[str], failing: list[str]) -> None:
    regex = LinearRegex.compile(pattern, flags)
    assert [regex.full_match(text) for text in matching] == [True] * len(matching)
    assert [regex.full_match(text) for text in failing] == [False] * len(failing)


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "[a", "[b-a]", "*a", "a**", "a{2,1}", "a{x}", "a{99999}", "\\", "(?=a)", "(?<!a)b", "(?<=a)b",
     "(a)\\1", "a++", "a*+", "(?>a)", "\\p{L}", "\\Qa\\E", "[a[b]]", "[a&&b]", "\\xZZ", "(" * 100 + ")" * 100,
     "((a{100}){100}){100}"],
)  # fmt: skip
def test_malformed_unsupported_or_huge_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(RegexError):
        LinearRegex.compile(pattern)


def test_unknown_flags_are_refused() -> None:
    with pytest.raises(RegexError, match="flag 'x'"):
        LinearRegex.compile("a", "x")


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*a){20}", "(a*)*b", "((((a*)*)*)*)*b"])
def test_patterns_that_make_backtracking_explode_answer_quickly(pattern: str) -> None:
    started = time.process_time()
    assert not LinearRegex.compile(pattern).full_match("a" * 5_000 + "!")
    assert time.process_time() - started < 5


def test_a_repetition_of_nothing_is_compiled_at_once() -> None:
    assert LinearRegex.compile("((((){1000}){1000}){1000}){1000}").full_match("")


def test_a_match_that_takes_too_long_is_given_up() -> None:
    regex = LinearRegex.compile("(\\b|a{0,400})*x")
    with pytest.raises(RegexError, match="too long"):
        regex.full_match("a" * 200_000)


_atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", "\\d", "(?:a|b)", "(a|ab)"])
_pieces = st.tuples(_atoms, st.sampled_from(["", "*", "+", "?", "{2}", "{0,2}", "*?"])).map("".join)
_patterns = st.lists(st.lists(_pieces, max_size=4).map("".join), min_size=1, max_size=3).map("|".join)


@settings(max_examples=200, deadline=None)
@given(_patterns, st.text("ab1", max_size=8))
def test_matches_agree_with_the_standard_library(pattern: str, text: str) -> None:
    assert LinearRegex.compile(pattern).full_match(text) is (re.fullmatch(pattern, text) is not None)


@settings(deadline=None)
@given(st.text(max_size=30), st.text(max_size=10))
def test_any_pattern_compiles_or_is_refused(pattern: str, text: str) -> None:
    try:
        regex = LinearRegex.compile(pattern)
    except RegexError:
        return
    assert regex.full_match(text) in (True, False)
