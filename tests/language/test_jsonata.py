"""Expressions as AWS evaluates them, on both engines."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from typing import Any

import pytest

from asfn.errors import StateFailed
from asfn.language.jsonata import (
    JsonataSyntaxError,
    compile_expression,
    compile_value,
    engine,
    is_expression,
    unexpected_type,
)
from tests.language.jsonata_support import ENGINES, Surroundings, evaluate, failure

both = pytest.mark.parametrize("name", ENGINES)
ORDER = {"id": 7, "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 5}], "tags": ["x"], "none": [], "gone": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{% 1 %}", True),
        ("{%1%}", True),
        ("{%%}", True),
        (" {% 1 %}", False),
        ("{% 1 %} ", False),
        ("{% 1", False),
        ("{%}", False),
        (1, False),
        (None, False),
        (["{% 1 %}"], False),
    ],
)
def test_an_expression_fills_its_string_from_delimiter_to_delimiter(value: Any, expected: bool) -> None:
    assert is_expression(value) is expected


@both
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$states.input.id", 7),
        ("$states.input.lines.sku", ["a", "b"]),
        ("$states.input.lines[n > 3].sku", "b"),
        ("$states.input.tags", ["x"]),
        ("$states.input.none", []),
        ("$states.input.gone", None),
        ("$states.input.lines[0]", {"sku": "a", "n": 2}),
        ("$states.input.`id`", 7),
        ("$states . input . id", 7),
        ("$states.context.Execution.Name", "run-7"),
        ("$sum($states.input.lines.n) + $bias", 17),
        ("$map($states.input.lines, function($l){ $l.n * 2 })", [4, 10]),
        ("$local := 3", 3),
        ("($a := 2; $a * $a)", 4),
        ("[1, null, 'x']", [1, None, "x"]),
        ("{'k': null}", {"k": None}),
        ("$exists($states.input.gone)", True),
        ("$exists($states.input.nothing)", False),
        ("$type($states.input.gone)", "null"),
        ("$states.input.lines{sku: n}", {"a": 2, "b": 5}),
        ("$states.input.lines^(>n).sku", ["b", "a"]),
        ("$states.input ~> |lines|{'n': 0}, 'sku'|", ORDER | {"lines": [{"n": 0}, {"n": 0}]}),
        ("$contains('hello$world', /^hello\\$/)", True),
        ("$contains('hello$world', /^hello\\ /)", False),
        ("$string(1e20) & '/' & $string(1e21)", "100000000000000000000/1e+21"),
        ("$string(9223372036854775808)", "9223372036854776000"),
        ("$now()", "2023-11-14T22:13:20.500Z"),
        ("$millis()", 1_700_000_000_500),
        ("$now('[Y0001]-[M01]')", "2023-11"),
        ("true ? 'yes' /* comment */ : 'no'", "yes"),
        ("$distinct([1, 1, true, 'a', 'a'])", [1, True, "a"]),
    ],
)
def test_the_language_is_there(name: str, source: str, expected: Any) -> None:
    assert evaluate(source, name, {"bias": 10}, input=ORDER) == expected


@both
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1/0", "Infinity"),
        ("-1/0", "-Infinity"),
        ("1e308 * 10", "Infinity"),
        ("[1/0, 1]", ["Infinity", 1]),
        ("{'k': 0/0}", {"k": "NaN"}),
        ("$parseInteger('abc', '0')", "NaN"),
    ],
)
def test_numbers_that_json_cannot_hold_become_texts(name: str, source: str, expected: Any) -> None:
    assert evaluate(source, name) == expected


@both
@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize(
    "source", ["$states.input.n", "$x", "[$x]", "{'a': $states.input}.a.n", "$states.input.rows[0].n", "$x ? $x : 0"]
)
def test_integers_of_64_bits_come_through_exactly(name: str, number: int, source: str) -> None:
    result = evaluate(source, name, {"x": number}, input={"n": number, "rows": [{"n": number}, {"n": 1}]})
    assert result in (number, [number])
    assert type(result[0] if isinstance(result, list) else result) is int


@both
def test_the_text_of_a_large_integer_is_exact(name: str) -> None:
    assert evaluate("$string($x) & '-' & $x", name, {"x": 2**53 + 1}) == "9007199254740993-9007199254740993"


@both
def test_integers_beyond_64_bits_are_doubles_where_the_language_reads_them(name: str) -> None:
    assert evaluate("$x + 0", name, {"x": 2**70}) == float(2**70)
    assert evaluate("$parse('18446744073709551616')", name) == float(2**64)


@both
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("$partition([1, 2, 3, 4, 5], 2)", [[1, 2], [3, 4], [5]]),
        ("$partition([1, 2], 2.9)", [[1, 2]]),
        ("$partition([1], 5)", [[1]]),
        ("$partition([1, 2])", [[1, 2]]),
        ("$range(0, 9, 3)", [0, 3, 6, 9]),
        ("$range(0, 10, 3)", [0, 3, 6, 9]),
        ("$range(5, 1, -2)", [5, 3, 1]),
        ("$range(-1.7, 2, 1)", [-1, 0, 1, 2]),
        ("$range(1, 9, 9)", 1),
        ("$range(3, 3, 1)", 3),
        ("$hash('input', 'SHA-1')", "140f86aae51ab9e1cda9b4254fe98a74eb54c1a1"),
        ("$hash('é', 'MD5')", hashlib.md5("é".encode()).hexdigest()),
        ("$random(42)", 0.7275636800328681),
        ("$random(42.9)", 0.7275636800328681),
        ("$random()", 0.25),
        ("$uuid()", "9a8b2c1d-0000-4000-8000-000000000000"),
        ('$parse(\'{"a":[1.0,null,"x"]}\')', {"a": [1, None, "x"]}),
        ("$map(['1', '2'], $parse)", [1, 2]),
        ("'[1,2]' ~> $parse", [1, 2]),
        ("$exists($parse($nothing))", False),
    ],
)
def test_the_functions_aws_adds(name: str, source: str, expected: Any) -> None:
    assert evaluate(source, name) == expected


@both
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[$reduce([], function($a, $b){ $a + $b })]", []),
        ("$reduce([], function($a, $b){ $a + $b }, 0)", 0),
        ("$reduce([null], function($a, $b){ $a + $b })", None),
        ("$encodeUrl('a b?é')", "a%20b?%C3%A9"),
        ("$base64decode('w6k')", "é"),
        ("$clone({'a': 1})", {"a": 1}),
        ("$formatBase(2.5)", "2"),
        ("$match('a😀b😀b', /b/).index", [3, 6]),
        ("$length('\\uD83D\\uDE00') & '\\uD83D\\uDE00'", "1😀"),
        ("$replace('a😀b', /b/, function($m){ $string($m.start) & $m.match })", "a😀3b"),
        ("$string($replace('ab', 'b', function($m){ $type($m.groups) }))", "aarray"),
    ],
)
def test_functions_give_what_the_reference_gives(name: str, source: str, expected: Any) -> None:
    assert evaluate(source, name) == expected


UNDEFINED = "returned nothing (undefined)."
THREW = "threw an error during evaluation. "
INTERNAL = "threw an internal error during evaluation."


@both
@pytest.mark.parametrize(
    ("source", "ending"),
    [
        ("$doesNotExist", UNDEFINED),
        ("$states.input.a.b", UNDEFINED),
        ("$states.result", UNDEFINED),
        ("$states.input.lines[sku = 'z']", UNDEFINED),
        ("$partition([], 2)", UNDEFINED),
        ("$partition([1], 0)", UNDEFINED),
        ("$range(1, 3)", UNDEFINED),
        ("$range(1, 3, -1)", UNDEFINED),
        ("$hash('a')", UNDEFINED),
        ("$fn := function($x){$x}", "returned an unsupported result type."),
        ("$sum", "returned an unsupported result type."),
        ("$states.input.id.$sum", "returned an unsupported result type."),
        ("[function($x){$x}]", "returned an unsupported result type."),
        ("$eval('1+1')", THREW + "T1006: Attempted to invoke a non-function"),
        ("$eval", UNDEFINED),
        ("$reduce([], function($a, $b){ $a + $b })", UNDEFINED),
        ("$base64decode('!!!')", INTERNAL),
        ("$base64decode('A')", INTERNAL),
        ("$formatNumber(1, $states.input.nothing)", INTERNAL),
        ("$nobody(1)", THREW + "T1006: Attempted to invoke a non-function"),
        ("$abs('x')", THREW + 'T0410: Argument 1 of function "abs" does not match function signature'),
        ("$sum(['a'])", THREW + 'T0412: Argument 1 of function "sum" must be an array of "numbers"'),
        ("1 + 'a'", THREW + 'T2002: The right side of the "+" operator must evaluate to a number'),
        ("'a' * 2", THREW + 'T2001: The left side of the "*" operator must evaluate to a number'),
        (
            "1 < 'a'",
            THREW + 'T2009: The values 1 and "a" either side of operator "<" must be of the same data type',
        ),
        ("$number('abc')", THREW + 'D3030: Unable to cast value to a number: "abc"'),
        ("$error('no stock')", THREW + "D3137: no stock"),
        ("{1: 2}", THREW + "T1003: Key in object structure must evaluate to a string; got: 1"),
        ("$parse('{')", THREW + "D3137: Invalid JSON"),
        ("$parse(1)", THREW + 'T0410: Argument 1 of function "parse" does not match function signature'),
        ("$uuid(1)", THREW + 'T0410: Argument 1 of function "uuid" does not match function signature'),
        ("$range(0, 4, 1, 2)", THREW + 'T0410: Argument 4 of function "range" does not match function signature'),
        ("$partition([1], -1)", THREW + "D3137: Second argument must be zero or greater"),
        (
            "$hash('a', 'sha-1')",
            THREW + "D3137: Hash algorithm 'sha-1' must be one of SHA-1, SHA-384, SHA-256, SHA-512, MD5",
        ),
        (
            "$formatNumber(1, 'x')",
            THREW + "D3086: The sub-picture must not contain a passive character that is preceded by an active "
            "character and that is followed by another active character",
        ),
    ],
)
def test_the_cause_of_a_failure_is_awss(name: str, source: str, ending: str) -> None:
    assert failure(source, name, input=ORDER) == ending


@both
def test_the_whole_of_states_has_awss_order_of_members(name: str) -> None:
    result = evaluate("$states", name, input=1, errorOutput={"Error": "E"})
    assert list(result) == ["input", "context", "errorOutput"]
    computed = evaluate("$merge([$states, {'more': 1}])", name, input=1, result=2)
    assert list(computed) == ["input", "context", "result", "more"]


def test_the_context_object_is_built_only_for_an_expression_that_reads_it() -> None:
    env = Surroundings()
    compile_expression("{% $states.input.a + 1 %}", "Output").evaluate(env, input={"a": 1})
    assert env.context_reads == 0
    assert (
        compile_expression("{% $states.context.Execution.Name & '!' %}", "Output").evaluate(env, input={}) == "run-7!"
    )
    assert env.context_reads == 1


def test_a_plain_path_gives_the_very_value_and_never_a_copy() -> None:
    document: dict[str, Any] = {"a": {"big": 2**70, "list": [1.0, {"x": None}]}}
    assert evaluate("$states.input.a", None, input=document) is document["a"]
    assert evaluate("$states.input.a.big", None, input=document) == 2**70


@both
@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"a": [{"b": 1}, {"b": 2}]}, "a.b", [1, 2]),
        ({"a": [{"b": [1]}, {"b": [2, 3]}]}, "a.b", [1, 2, 3]),
        ({"a": [{"b": 1}, {"c": 2}]}, "a.b", 1),
        ({"a": [[{"b": 1}], [{"b": 2}]]}, "a.b", [1, 2]),
        ({"a": {"b": [[1, 2]]}}, "a.b", [[1, 2]]),
        ({"a": 2.0}, "a", 2),
    ],
)
def test_lists_on_the_way_of_a_path_are_mapped_and_flattened(
    name: str, document: Any, path: str, expected: Any
) -> None:
    result = evaluate(f"$states.input.{path}", name, input=document)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("document", [{"a": None}, {"a": "text"}, {"a": 5}, {"a": {"c": 1}}, {}, None, "text"])
def test_a_path_through_something_else_than_an_object_is_undefined(document: Any) -> None:
    assert failure("$states.input.a.b", None, input=document) == UNDEFINED


def test_expressions_know_what_they_read() -> None:
    def facts(source: str) -> tuple[set[str], set[str]]:
        expression = compile_expression(f"{{% {source} %}}", "Output")
        return set(expression.variables), set(expression.uses)

    everything = {"input", "context", "result", "errorOutput"}
    assert facts("$x") == ({"x"}, set())
    assert facts("$states.result.a + $y.z") == ({"y"}, {"result"})
    assert facts("$map($states.input.l, function($x){ $x + $outer })") == ({"outer"}, {"input"})
    assert facts("($a := $b; $a)") == ({"b"}, set())
    assert facts("$sum($a) ~> $string") == ({"a"}, set())
    assert facts("($f := function($n){ $f($n - $k) }; $f(1))") == ({"k"}, set())
    assert facts("$keys($states)") == (set(), everything)
    assert facts("($s := $states; $s.input)") == (set(), everything)
    assert facts("$states.input.rows@$r.items#$i.{'r': $r.id, 'i': $i, 'v': $v}") == ({"v"}, {"input"})


@both
def test_a_workflow_variable_may_have_the_name_of_a_function(name: str) -> None:
    assert evaluate("$count + 1", name, {"count": 4}) == 5


@both
def test_an_inner_name_hides_the_variable_only_where_it_is_bound(name: str) -> None:
    assert evaluate("[$x, ($x := 2; $x), $x]", name, {"x": 1}) == [1, 2, 1]


@both
def test_the_context_item_is_undefined_for_functions_that_default_to_it(name: str) -> None:
    assert failure("$string()", name, {"x": 1}) == UNDEFINED
    assert evaluate("['a', 'b'].$uppercase()", name) == ["A", "B"]


@both
def test_one_expression_serves_several_threads(name: str) -> None:
    expression = compile_expression("{% $states.input.n * 2 + $one %}", "Output", engine=name)  # type: ignore[arg-type]
    results: list[Any] = []
    env = Surroundings({"one": 1})

    def work() -> None:
        results.extend(expression.evaluate(env, input={"n": number}) for number in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted([2 * number + 1 for number in range(20)] * 4)


def test_a_template_evaluates_strings_at_any_depth_and_shares_the_rest() -> None:
    literal: Any = {"fixed": [1, "$.no.path", " {% 1 %}"], "{% 1 %}": 2}
    value = compile_value({"a": ["{% $states.input %}", {"b": "{% $x %}"}], "c": literal}, "Arguments")
    assert [expression.field for expression in value.expressions] == ["Arguments/a[0]", "Arguments/a[1]/b"]
    result = value.evaluate(Surroundings({"x": 5}), input={"i": 1})
    assert result == {"a": [{"i": 1}, {"b": 5}], "c": literal}
    assert isinstance(result, dict)
    assert result["c"] is literal
    assert not value.is_literal


def test_a_template_without_expressions_is_a_literal() -> None:
    value = compile_value([1, {"a": None}], "Output")
    assert value.is_literal
    assert value.evaluate(Surroundings()) == [1, {"a": None}]


def test_a_failure_inside_a_template_names_its_place() -> None:
    value = compile_value({"a": {"b": ["{% $nope %}"]}}, "Output")
    with pytest.raises(StateFailed) as caught:
        value.evaluate(Surroundings(), input={})
    assert caught.value.location == "Output/a/b[0]"
    assert "specified for the field 'Output/a/b[0]' returned nothing (undefined)." in caught.value.cause


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (1, "number", "1"),
        ("string", "string", '"string"'),
        (True, "boolean", "true"),
        (None, "null", "null"),
        ({"foo": "bar"}, "object", '{"foo":"bar"}'),
    ],
)
def test_a_result_of_another_type_is_shown_in_the_cause(value: Any, kind: str, shown: str) -> None:
    expression = compile_expression("{% $ItemsVar %}", "Items")
    error = unexpected_type(expression, value, "array")
    assert error.cause == (
        "The JSONata expression '$ItemsVar' specified for the field 'Items' returned an unexpected result type. "
        f"Expected 'array', but was '{kind}' for value: {shown}"
    )
    assert error.location == "Items"


def test_compiling_does_not_change_the_text_that_causes_show() -> None:
    assert compile_expression("{%   $a +\n $b\t%}", "Output").source == "$a +\n $b"


def test_both_engines_are_here_and_the_fast_one_is_the_default() -> None:
    assert engine("pure").name == "pure"
    assert engine().name == engine("rust").name == "rust"


def test_importing_the_package_loads_no_engine_and_engines_leave_the_recursion_limit_alone() -> None:
    code = (
        "import sys; limit = sys.getrecursionlimit(); import asfn.language.jsonata as j;"
        "assert not {'jsonata', 'jsonatapy'} & set(sys.modules);"
        "j.compile_expression('{% $states.input.a %}', 'Output');"
        "assert 'jsonata' not in sys.modules;"
        "j.compile_expression('{% 1 + $x %}', 'Output'); j.engine('pure'); assert sys.getrecursionlimit() == limit"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_is_printed_when_a_call_fails(capsys: pytest.CaptureFixture[str]) -> None:
    failure("$states.input.id(1)", "pure", input=ORDER)
    with pytest.raises(JsonataSyntaxError):
        compile_expression("{% 1 + %}", "Output")
    assert capsys.readouterr().out == ""
