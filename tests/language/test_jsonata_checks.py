"""What AWS refuses about expressions at create time."""

from __future__ import annotations

import pytest

from asfn.language.jsonata import JsonataSyntaxError, check_expression, compile_expression

ENTRY = frozenset(("input", "context"))
UNSUPPORTED = "UNSUPPORTED_JSONATA_EXPRESSION"


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("a[1,2)", "S0202", 'Expected "]", got ","'),
        ('"unterminated', "S0101", "String literal must be terminated by a matching quote"),
        ("'unterminated", "S0101", "String literal must be terminated by a matching quote"),
        ("'ends in \\", "S0103", 'Unsupported escape sequence: \\""'),
        ("'a\\qb'", "S0103", 'Unsupported escape sequence: \\"q"'),
        ("'\\u12'", "S0104", "The escape sequence \\u must be followed by 4 hex digits"),
        ("`name", "S0105", "Quoted property name must be terminated with a backquote (`)"),
        ("1 /* open", "S0106", "Comment has no closing tag"),
        ("/*", "S0106", "Comment has no closing tag"),
        ("1e999", "S0102", "Number out of range: null"),
        ("1 +", "S0207", "Unexpected end of expression"),
        ("", "S0207", "Unexpected end of expression"),
        ("1 /", "S0207", "Unexpected end of expression"),
        ('{"a":}', "S0211", 'The symbol "}" cannot be used as a unary operator'),
        ("$x :=", "S0207", "Unexpected end of expression"),
        ('$match("a", /abc', "S0302", "No terminating / in regular expression"),
        ("phone %.other", "S0211", 'The symbol "." cannot be used as a unary operator'),
        ('[1 "zz"]', "S0202", 'Expected "]", got "zz"'),
        ("$sum(1", "S0203", 'Expected ")" before end of expression'),
        ("1 2", "S0201", "Syntax error: 2"),
        ("a b", "S0201", 'Syntax error: "b"'),
        ("a ! b", "S0204", 'Unknown operator: "!"'),
        ("a := 1", "S0212", "The left side of := must be a variable name (start with $)"),
        ("function(x){1}", "S0208", 'Parameter "x" of function definition must be a variable name (start with $)'),
        ("$a.1", "S0213", "The literal value 1 cannot be used as a step within a path expression"),
        ("$a ?? 1", "S0211", 'The symbol "?" cannot be used as a unary operator'),
        ("$a ?: 1", "S0211", 'The symbol ":" cannot be used as a unary operator'),
        ("%", "S0217", 'The object representing the "parent" cannot be derived from this expression'),
        ("$contains('a', //)", "S0301", "Empty regular expressions are not allowed"),
    ],
)
def test_a_syntax_error_has_the_references_code_and_text(source: str, code: str, message: str) -> None:
    with pytest.raises(JsonataSyntaxError) as caught:
        compile_expression(f"{{% {source} %}}", "Output")
    if code != "S0102":  # what AWS shows for a number beyond a double is not known
        assert caught.value.message == message
    assert (caught.value.code, caught.value.kind) == (code, "INVALID_JSONATA_EXPRESSION")


def messages(source: str, allowed: frozenset[str] = ENTRY) -> list[str]:
    problems = check_expression(compile_expression(f"{{% {source} %}}", "Output"), allowed=allowed)
    assert {problem.code for problem in problems} <= {UNSUPPORTED}
    return [problem.message for problem in problems]


def top(name: str) -> str:
    return f"Reference to '{name}' at the top level is not supported."


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("phone", [top("phone")]),
        ("phone[0].number", [top("phone")]),
        ("aaa + bbb + aaa", [top("aaa"), top("bbb")]),
        ("$.phone", [top("$")]),
        ("$", [top("$")]),
        ("$$", ["Reference to '$$' is not supported."]),
        ("$$.a.b", ["Reference to '$$' is not supported."]),
        ("$states.input.rows[$$.x = 1]", ["Reference to '$$' is not supported."]),
        ("{aaa: 1}", [top("aaa")]),
        ("$map($states.input.a, function($x){ b })", [top("b")]),
        ("foo(1)", [top("foo")]),
        ("x ? y : z", [top("x"), top("y"), top("z")]),
        ("($v := name; $v)", [top("name")]),
    ],
)
def test_reads_of_the_missing_context_are_refused_by_name(source: str, expected: list[str]) -> None:
    assert messages(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        "$states.input.phone",
        "$states.input.items[phone > 3]",
        "$states.input.items[$ = 1]",
        "$map($states.input.a, function($x){ $x.phone })",
        "$states.input.items^(price).name",
        "$states.input.items{name: $sum(price)}",
        "$states.input.items.{'n': name, 'p': %.id}",
        "$states.input.**.name",
        "$x ~> |items|{'a': b}|",
        "$phone",
        "$doesNotExist",
        "'text'",
        "$states",
    ],
)
def test_names_with_a_context_of_their_own_are_accepted(source: str) -> None:
    assert messages(source) == []


def test_members_of_states_that_the_field_does_not_have_are_refused() -> None:
    assert messages("$states.errorOutput") == ["Field '$states.errorOutput' does not exist."]
    assert messages("$states.errorOutput.Cause & 'x'") == ["Field '$states.errorOutput' does not exist."]
    assert messages("$states.result.a") == ["Field '$states.result' does not exist."]
    assert messages("[1][$states.result = 1]") == ["Field '$states.result' does not exist."]
    assert messages("$states.result.a", ENTRY | {"result"}) == []
    assert messages("$states.errorOutput", ENTRY | {"errorOutput"}) == []
    assert messages("($states := {'result': 1}; $states.result)") == []


def test_calls_of_nobodys_functions_are_known_but_not_refused() -> None:
    expression = compile_expression("{% ($local := 1; $nobody(1) + $sum([1]) + $local) %}", "Output")
    assert expression.unknown_functions == ("nobody",)
    assert compile_expression("{% ($f := function(){1}; $f()) %}", "Output").unknown_functions == ()
