"""Expressions that try to use up time or memory: each ends soon, as a failed state, with little memory."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from asfn.language.jsonata import JsonataSyntaxError, Limits, compile_expression
from asfn.language.jsonata.regex import Pattern
from tests.language.jsonata_support import ENGINES, Surroundings, evaluate, failure

both = pytest.mark.parametrize("name", ENGINES)
MEMORY = (
    "threw an error during evaluation: Expression evaluation memory limit exceeded: Check for excessive memory usage"
)
TIME = "threw an error during evaluation: Expression evaluation timeout: Check for infinite loop"
STACK = (
    "threw an error during evaluation: Stack overflow error: Check for non-terminating recursive function. "
    "Consider rewriting as tail-recursive"
)
DOUBLE = "($p := function($s, $n) {{ $n = 0 ? $s : $p({0}, $n - 1) }}; $count($p({1}, 40)))"

HOSTILE = {
    "recursion without end": ("($f := function($x){ 1 + $f($x + 1) }; $f(1))", STACK),
    "tail recursion without end": ("($f := function($x){ $f($x + 1) }; $f(1))", TIME),
    "self application": ("(function($f){ $f($f) })(function($f){ $f($f) })", TIME),
    "text doubling": (DOUBLE.format("$s & $s", "'x'"), MEMORY),
    "text doubling by join": (DOUBLE.format("$join([$s, $s])", "'x'"), MEMORY),
    "text doubling in a reduction": ("$reduce([1..40], function($a, $b){ $a & $a }, 'x')", MEMORY),
    "list doubling": (DOUBLE.format("[$s, $s]", "[1]"), MEMORY),
    "list doubling by append": (DOUBLE.format("$append($s, $s)", "[1]"), MEMORY),
    "shared structure": ("($p := function($s, $n){ $n = 0 ? $s : $p({'a': $s, 'b': $s}, $n - 1) }; $p(1, 40))", MEMORY),
    "shared structure by names": (
        "($v0 := 1;" + "".join(f"$v{i + 1} := {{'a': $v{i}, 'b': $v{i}}};" for i in range(30)) + "$v30)",
        MEMORY,
    ),
    "function powers": (
        "($t := function($f){ function($x){ $f($f($x)) } }; $t($t)($t)($t)(function($x){ $x & $x })('a'))",
        MEMORY,
    ),
    "a long range": ("[1..10000000]", MEMORY),
    "ranges in ranges": ("[1..5000].([1..5000])", MEMORY),
    "a long $range": ("$range(1, 360146, 1)", MEMORY),
    "an endless $range": ("$range(1, 1000000000, 1)", MEMORY),
    "padding": ("$pad('a', 1000000000)", MEMORY),
    "padding to the left": ("$pad('a', -1000000000)", MEMORY),
    "a long picture": ("$formatNumber(1, $pad('0', 1000000, '0'))", MEMORY),
    "nine million multiplications": ("$count([1..3000].($map([1..3000], function($v){ $v * $v })))", TIME),
    "a sort by a function": ("$sort([1..800000], function($a, $b){ $a < $b })", TIME),
    "zipping": ("$zip([1..800000], [1..800000])", MEMORY),
    "a hundred and one terms": ("+".join(["1"] * 101), STACK),
    "a hundred parentheses": ("(" * 100 + "1" + ")" * 100, STACK),
}


@both
@pytest.mark.parametrize("case", HOSTILE)
def test_a_runaway_expression_fails_its_state_in_time(name: str, case: str) -> None:
    source, ending = HOSTILE[case]
    started = time.thread_time()
    # A slow machine may run out of time before it runs out of memory; both are AWS's words.
    assert failure(source, name) in ({ending, TIME} if ending == MEMORY else {ending})
    assert time.thread_time() - started < 20  # it ends: far above what it takes


@both
@pytest.mark.parametrize("case", ["text doubling", "shared structure", "padding", "ranges in ranges", "a long range"])
def test_a_runaway_expression_takes_little_memory(name: str, case: str) -> None:
    failure("$count(1, 2)", name)  # whatever is loaded once
    tracemalloc.start()
    try:
        failure(HOSTILE[case][0], name)
        assert tracemalloc.get_traced_memory()[1] < 400_000_000
    finally:
        tracemalloc.stop()


@both
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$count([1..873782])", 873_782),
        ("$count($range(1, 360145, 1))", 360_145),
        ("+".join(["1"] * 100), 100),
        ("(" * 99 + "1" + ")" * 99, 1),
        ("'a'" + " ~> $uppercase" * 99, "A"),
        ("($f := function($n){ $n = 0 ? 0 : 1 + $f($n - 1) }; $f(31))", 31),
        ("$length($pad('a', 3000000))", 3_000_000),
        ("$count($distinct([1..100000]))", 100_000),
        ("($p := function($s, $n) { $n = 0 ? $s : $p($s & $s, $n - 1) }; $length($p('x', 22)))", 2**22),
    ],
)
def test_what_aws_still_accepts_is_accepted(name: str, source: str, expected: Any) -> None:
    assert evaluate(source, name) == expected


@both
def test_one_level_more_than_awss_depth_is_refused(name: str) -> None:
    assert failure("($f := function($n){ $n = 0 ? 0 : 1 + $f($n - 1) }; $f(32))", name) == STACK


@pytest.mark.parametrize(
    "source", ["(" * 20_000 + "1" + ")" * 20_000, "[" * 20_000, "1" + "+1" * 5_000, "true?(" * 3_000]
)
def test_text_nested_beyond_reason_is_refused_when_compiled(source: str) -> None:
    with pytest.raises(JsonataSyntaxError):
        compile_expression(f"{{% {source} %}}", "Output")


@both
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$contains($pad('a', 60, 'a') & 'b', /^(a+)+$/)", False),
        ("$contains($pad('a', 50000, 'a'), /a*a*a*b/)", False),
        ("$replace($pad('a', 40, 'a'), /^(([a-z])+.)+[A-Z]([a-z])+$/, 'x')", "a" * 40),
        ("$match('ab12-cd34', /([a-z]+)(\\d+)/).groups", ["ab", "12", "cd", "34"]),
        ("$split('a1b22c', /\\d+/)", ["a", "b", "c"]),
        ("$replace('a.b.c', /\\./, '$$-')", "a$-b$-c"),
        ("$replace('john smith', /(\\w+)\\s(\\w+)/, '$2, $1')", "smith, john"),
    ],
)
def test_regular_expressions_do_not_hang(name: str, source: str, expected: Any) -> None:
    assert evaluate(source, name) == expected


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"(a|ab)(c|bcd)(d*)+", "abcd", ("abcd", ("a", "bcd", ""))),
        (r"a*?b+", "aabb", ("aabb", ())),
        (r"\w+@\w+(\.\w+)+", "to joe@x.co.uk!", ("joe@x.co.uk", (".uk",))),
        (r"[^\d\s]+\s*[a-cx-z]{2,3}", "12 foo abz", ("foo abz", ())),
        (r"(\d{3})-(\d+)?(z*)", "123-z", ("123-z", ("123", None, "z"))),
        (r"\bB+\b.*$", "aBB BB.", ("BB.", ())),
        (r"(?:x+y*)+", "zxxyx", ("xxyx", ())),
    ],
)
def test_patterns_with_several_repeats_find_what_a_backtracking_engine_finds(
    pattern: str, text: str, expected: tuple[str, tuple[str | None, ...]]
) -> None:
    match = next(Pattern.compile(pattern).find(text))
    assert (match.text, match.groups) == expected


def test_limits_can_be_set() -> None:
    limits = Limits(seconds=0.05)
    expression = compile_expression("{% ($f := function($x){ $f($x) }; $f(1)) %}", "Output", limits=limits)
    with pytest.raises(Exception, match="Expression evaluation timeout"):
        expression.evaluate(Surroundings(), input={})


def test_a_large_value_repeated_by_every_turn_of_a_loop_is_refused() -> None:
    document = {"l": list(range(20_000))}
    for source in (
        "$map($states.input.l, function($v){ $states.input.l })",
        "$states.input.l.{'x': $states.input.l}",
        "($all := $states.input.l; $map($all, function($v){ $all }))",
    ):
        assert failure(source, None, input=document) in (MEMORY, TIME)


def test_a_small_value_may_be_repeated_by_a_long_loop() -> None:
    document = {"l": list(range(5_000)), "tag": "t"}
    result = evaluate(
        "$map($states.input.l, function($v){ {'v': $v, 'tag': $states.input.tag} })", None, input=document
    )
    assert len(result) == 5_000
    assert result[4_999] == {"v": 4_999, "tag": "t"}


@pytest.mark.parametrize("unit", ["(($a))+", "{'a': $x.b, 'd': [1]} & ", "$f([1]) & "])
def test_an_expression_of_very_many_tokens_is_refused_before_it_is_parsed(unit: str) -> None:
    with pytest.raises(JsonataSyntaxError, match="U1001: The expression is too long"):
        compile_expression("{% " + unit * (140_000 // len(unit)) + " %}", "Output")


def test_a_long_text_in_an_expression_is_no_reason_to_refuse_it() -> None:
    assert compile_expression("{% '" + "x" * 200_000 + "' & 'y' %}", "Output").source.startswith("'xxx")


def test_an_expression_that_is_nested_too_deeply_to_be_looked_at_is_refused() -> None:
    for repeats in (400, 800, 1_600):
        with pytest.raises(JsonataSyntaxError, match="U1001"):
            compile_expression("{% " + "$states.input.lines[price > 4].price + " * repeats + "1 %}", "Output")
