from __future__ import annotations

import copy
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asfn._json import Json
from asfn.errors import StateFailed
from asfn.language.intrinsics import INTRINSIC_NAMES, IntrinsicSyntaxError, compile_intrinsic
from tests.language.surroundings import NOWHERE, Surroundings
from tests.language.test_numbers import documents


def call(text: str, document: Json = None, environment: Surroundings = NOWHERE) -> Json:
    return compile_intrinsic(text).evaluate(document, environment)


def cause(text: str, document: Json = None, environment: Surroundings = NOWHERE) -> str:
    with pytest.raises(StateFailed) as caught:
        call(text, document, environment)
    assert caught.value.error == "States.Runtime"
    return caught.value.cause


def refuses(text: str, document: Json = None) -> bool:
    """The call fails with the sentence that names the whole expression, and the function that refused."""
    found = cause(text, document)
    name = text.partition("(")[0]
    return found.startswith(f"There was an error while evaluating the intrinsic function: {text}. ") and name in found


# Format.


@pytest.mark.parametrize(
    ("text", "document", "result"),
    [
        ("States.Format('plain')", None, "plain"),
        ("States.Format('')", None, ""),
        ("States.Format('{}', 'x')", None, "x"),
        ("States.Format('a {} b {} c', 1, 'two')", None, "a 1 b two c"),
        ("States.Format('{}{}', $.a, $.b)", {"a": "x", "b": 1.5}, "x1.5"),
        ("States.Format('{}', $.v)", {"v": None}, "null"),
        ("States.Format('{} {}', true, false)", None, "true false"),
        ("States.Format('{}', $.v)", {"v": {"Arg1": 1, "Arg2": []}}, "{Arg1=1, Arg2=[]}"),
        ("States.Format('{}', $.v)", {"v": ["a", 1e22]}, "[a, 1.0E22]"),
        ("States.Format('{}', $.v)", {"v": '{"a": 1}'}, '{"a": 1}'),
        ("States.Format('\\{\\} {} \\'q\\' \\\\', 1)", None, "{} 1 'q' \\"),
        ("States.Format('\\{x\\} \\{ {}', 1)", None, "{x} { 1"),
        ("States.Format('line\n{}', 1)", None, "line\n1"),
        ("States.Format('{}', '{}')", None, "{}"),
        ("States.Format($.t, 1, 2)", {"t": "{}+{}"}, "1+2"),
        ("States.Format($.t, 1)", {"t": "\\{\\} {} \\n \\"}, "{} 1 \\n \\"),
        ("States.Format($.t)", {"t": 5}, "5"),
        ("States.Format(States.Format('\\{\\} {}', 'x'))", None, None),
        ("States.Format('{}', States.Format('<{}>', 1))", None, "<1>"),
        ("States.Format( 'a{}' ,  1 )  ", None, "a1"),
    ],
)
def test_format_fills_the_holes_of_its_template(text: str, document: Json, result: Json) -> None:
    if result is None:
        assert "number of arguments" in cause(text, document)
    else:
        assert call(text, document) == result


@pytest.mark.parametrize(
    ("text", "document"),
    [("States.Format('{}')", None), ("States.Format('{}', 1, 2)", None), ("States.Format($.t, 1)", {"t": 5})],
)
def test_format_needs_as_many_values_as_holes(text: str, document: Json) -> None:
    assert cause(text, document) == (
        f"There was an error while evaluating the intrinsic function: {text}. "
        "Invalid arguments in States.Format: number of arguments do not match the occurrences of {}."
    )


@pytest.mark.parametrize(
    ("template", "brace", "missing"),
    [("Hello {", "{", "}"), ("Hello {{}}", "{", "}"), ("{ } {}", "{", "}"), ("}", "}", "{"), ("{}}", "}", "{")],
)
def test_a_brace_alone_in_a_format_is_a_failure_in_awss_words(template: str, brace: str, missing: str) -> None:
    sentence = f"Invalid template in States.Format: matching '{missing}' not found for '{brace}'."
    assert cause(f"States.Format('{template}', 1)") == (
        f"There was an error while evaluating the intrinsic function: States.Format('{template}', 1). {sentence}"
    )
    assert cause("States.Format($.t, 1)", {"t": template}).endswith(f"States.Format($.t, 1). {sentence}")


def test_a_missing_value_is_named_before_the_template_that_lacks_a_brace() -> None:
    assert "'$.nope' could not be found" in cause("States.Format('{', $.nope)", {})


def test_format_reads_context_and_variables() -> None:
    environment = Surroundings(context={"Execution": {"Name": "e"}}, variables={"v": [1]})
    assert call("States.Format('{} {}', $$.Execution.Name, $v[0])", None, environment) == "e 1"


# JSON.


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", None), (" \t\n", None), ("null", None), ("-0", 0), ("1.1", 1.1), ("true", True), ('"x"', "x"),
        ('[1, 2, "x"]', [1, 2, "x"]), (' {"a": {}} ', {"a": {}}), ("12345678901234567890123", 12345678901234567890123),
    ],
)  # fmt: skip
def test_string_to_json_reads_json_and_makes_null_of_blank_text(text: str, result: Json) -> None:
    assert call("States.StringToJson($.t)", {"t": text}) == result


def test_string_to_json_takes_braces_and_quotes_in_a_literal() -> None:
    assert call('States.StringToJson(\'{"a": "it\\\'s"}\')') == {"a": "it's"}


@pytest.mark.parametrize("value", ["{", "x", "[1,]", "1 2", "NaN"])
def test_string_to_json_refuses_what_is_no_json(value: Json) -> None:
    assert cause("States.StringToJson($.t)", {"t": value}).startswith(
        "There was an error while evaluating the intrinsic function: States.StringToJson($.t). "
        "Cannot convert String to Json in States.StringToJson, caused by: "
    )


@pytest.mark.parametrize(
    ("value", "fault", "column"),
    [
        ("{bad json}", "Unexpected character ('b' (code 98)): was expecting double-quote to start field name", 2),
        (
            '{"a":1',
            (
                "Unexpected end-of-input: expected close marker for Object (start marker at [Source: REDACTED "
                "(`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 1])"
            ),
            7,
        ),
        (
            "undefined",
            (
                "Unrecognized token 'undefined': was expecting "
                "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
            ),
            10,
        ),
    ],
)
def test_string_to_json_says_what_is_wrong_in_awss_words(value: str, fault: str, column: int) -> None:
    """The sentences are AWS's."""
    assert cause("States.StringToJson($.t)", {"t": value}).endswith(
        f", caused by: {fault}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); "
        f"line: 1, column: {column}]"
    )


@pytest.mark.parametrize("value", [5, None, {}, True])
def test_string_to_json_refuses_what_is_no_text(value: Json) -> None:
    assert cause("States.StringToJson($.t)", {"t": value}) == (
        "There was an error while evaluating the intrinsic function: States.StringToJson($.t). "
        "Invalid arguments in States.StringToJson"
    )


def test_json_to_string_is_compact_and_prints_numbers_as_java() -> None:
    assert call("States.JsonToString($)", {"a": [1, 1.0, 1e22, "é\n"]}) == '{"a":[1,1.0,1.0E22,"é\\n"]}'
    assert call("States.JsonToString($.v)", {"v": None}) == "null"
    assert call("States.JsonToString('x')") == '"x"'


def test_json_merge_is_shallow_and_the_right_side_wins() -> None:
    document: Json = {"l": {"a": {"x": 1}, "b": 2, "d": 3}, "r": {"a": {"y": 1}, "d": 4}}
    assert call("States.JsonMerge($.l, $.r, false)", document) == {"a": {"y": 1}, "b": 2, "d": 4}
    assert call("States.JsonMerge($.l.a, $.r.a, 'false')", document) == {"x": 1, "y": 1}
    assert refuses("States.JsonMerge($.l, $.r, true)", document)
    assert refuses("States.JsonMerge($.l, $.l.b, false)", document)
    assert refuses("States.JsonMerge('{}', $.r, false)", document)


# Arrays.


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("States.Array()", []),
        ("States.Array( )", []),
        ("States.Array(1, 'a', null, true, 2.5, -3, 1e2)", [1, "a", None, True, 2.5, -3, 100.0]),
        ("States.Array(States.Array(), $.o)", [[], {"k": 1}]),
        ("States.ArrayPartition($.n, 2)", [[1, 2], [3, 4], [5]]),
        ("States.ArrayPartition($.n, 2.6)", [[1, 2], [3, 4], [5]]),
        ("States.ArrayPartition($.n, 99)", [[1, 2, 3, 4, 5]]),
        (f"States.ArrayPartition($.n, 1{'0' * 400})", [[1, 2, 3, 4, 5]]),
        ("States.ArrayPartition($.e, 2)", []),
        ("States.ArrayContains($.n, 3)", True),
        ("States.ArrayContains($.n, 3.0)", False),
        ("States.ArrayContains($.n, '3')", True),
        ("States.ArrayContains($.n, true)", False),
        ("States.ArrayContains(States.Array('true'), true)", True),
        ("States.ArrayContains(States.Array($.two), $.turned)", False),
        ("States.ArrayContains(States.Array($.two), $.two)", True),
        ("States.ArrayContains($.d, $.o)", True),
        ("States.ArrayContains($.d, null)", True),
        ("States.ArrayContains($.e, $.e)", False),
        ("States.ArrayRange(1, 9, 2)", [1, 3, 5, 7, 9]),
        ("States.ArrayRange(0, 8, 3)", [0, 3, 6]),
        ("States.ArrayRange(5, 1, -2)", [5, 3, 1]),
        ("States.ArrayRange(1, 1, 1)", [1]),
        ("States.ArrayRange(1, 5, -1)", []),
        ("States.ArrayRange(1.6, 1.4, 1)", [1]),
        ("States.ArrayRange(5.4, -0.6, -2.4)", [5, 3, 1]),
        ("States.ArrayGetItem($.n, 0)", 1),
        ("States.ArrayGetItem($.n, 4.9)", 5),
        ("States.ArrayGetItem($.e, 999)", None),
        ("States.ArrayLength($.n)", 5),
        ("States.ArrayLength($.e)", 0),
        ("States.ArrayLength($.n[*])", 5),
        ("States.ArrayLength($.missing[*])", 0),
        ("States.ArrayUnique($.d)", [None, [1], 1, "1", {"k": 1}, True]),
    ],
)
def test_array_functions(text: str, result: Json) -> None:
    document: Json = {
        "n": [1, 2, 3, 4, 5],
        "e": [],
        "o": {"k": 1},
        "two": {"a": 1, "b": 2},
        "turned": {"b": 2, "a": 1},
        "d": [{"k": 1}, None, 1, True, [1], {"k": 1}, 1, None, [1], "1"],
    }
    assert call(text, document) == result


@pytest.mark.parametrize(
    "text",
    [
        "States.ArrayPartition($.n, 0)", "States.ArrayPartition($.n, 0.6)", "States.ArrayPartition($.n, -1)",
        "States.ArrayPartition($.n, 'x')", "States.ArrayPartition('n', 1)", "States.ArrayContains('abc', 'a')",
        "States.ArrayRange(1, 5, 0)", "States.ArrayRange(1, 5, 0.6)", "States.ArrayRange(1, '5', 1)",
        "States.ArrayGetItem($.n, 3)", "States.ArrayGetItem($.n, -1)", "States.ArrayGetItem($.n, null)",
        "States.ArrayGetItem($.n, '0')", "States.ArrayGetItem($.n, true)", "States.ArrayGetItem('abc', 0)",
        "States.ArrayLength('abc')", "States.ArrayUnique($)",
    ],
)  # fmt: skip
def test_array_functions_refuse_wrong_arguments(text: str) -> None:
    assert refuses(text, {"n": [1, 2, 3]})


def test_array_range_makes_at_most_1000_elements() -> None:
    values = call("States.ArrayRange(1, 1000, 1)")
    assert isinstance(values, list)
    assert len(values) == 1000
    assert refuses("States.ArrayRange(0, 1000, 1)")
    assert refuses("States.ArrayRange(0, 1e300, 1)")
    assert refuses("States.ArrayRange(1000, 0, -1)")


def test_array_partition_takes_at_most_256_kib() -> None:
    assert call("States.ArrayPartition($, 1)", ["x" * 262_140]) == [["x" * 262_140]]
    assert refuses("States.ArrayPartition($, 1)", ["x" * 262_141])


# Texts.


def test_base64_encodes_and_decodes_utf_8() -> None:
    assert call("States.Base64Encode('Data to encode')") == "RGF0YSB0byBlbmNvZGU="
    assert call("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')") == "Data to encode"
    assert call("States.Base64Encode('')") == ""
    assert call("States.Base64Decode('')") == ""
    assert call("States.Base64Encode('>>>é')") == "Pj4+w6k="
    assert call("States.Base64Decode(States.Base64Encode($))", "é😀") == "é😀"


def test_base64_decode_refuses_no_text() -> None:
    assert call("States.Base64Decode($)", "RGF0\r\nYQ==") == "Data"
    assert call("States.Base64Decode($)", "RGF0YQ") == "Data"
    assert call("States.Base64Decode($)", "/w==") == "\ufffd"
    assert call("States.Base64Decode($)", "RGF0Y") == "Dat"
    assert call("States.Base64Decode($)", "ab==cd") == "i"
    assert call("States.Base64Decode($)", "!!!RGF0YQ!!!") == "Data"


def test_texts_of_base64_and_hash_have_at_most_10000_characters() -> None:
    for name in ("States.Base64Encode($)", "States.Base64Decode($)", "States.Hash($, 'MD5')"):
        assert isinstance(call(name, "AAAA" * 2_500), str)
        assert refuses(name, "A" * 10_001)
        assert name.startswith("States.Hash") or refuses(name, 5)


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-1", "SHA-256", "SHA-384", "SHA-512"])
def test_hash_is_lower_case_hex(algorithm: str) -> None:
    expected = hashlib.new(algorithm.replace("-", ""), "input é".encode()).hexdigest()
    assert call(f"States.Hash('input é', '{algorithm}')") == expected


def test_hash_takes_other_values_as_their_json_text() -> None:
    assert call("States.Hash($, 'SHA-1')", {"a": 1}) == hashlib.sha1(b'{"a":1}').hexdigest()


@pytest.mark.parametrize("algorithm", ["'SHA256'", "'sha-256'", "''", "null", "5"])
def test_hash_knows_five_algorithms(algorithm: str) -> None:
    assert refuses(f"States.Hash('x', {algorithm})")


@pytest.mark.parametrize(
    ("text", "separators", "pieces"),
    [
        ("a,b", ",", ["a", "b"]),
        (",,a,,b,,", ",", ["a", "b"]),
        (",,,,", ",", []),
        (", , ,", ",", [" ", " "]),
        ("This.is+a,test=string", ".+,=", ["This", "is", "a", "test", "string"]),
        ("a::b:c", "::", ["a", "b", "c"]),
        ("a]b^c-d\\e", "]^-\\", ["a", "b", "c", "d", "e"]),
        ("a😀b", "😀", ["a", "b"]),
        ("abc", "", ["abc"]),
        ("", ",", []),
    ],
)
def test_string_split_splits_at_every_character_of_the_separator(text: str, separators: str, pieces: Json) -> None:
    assert call("States.StringSplit($.t, $.s)", {"t": text, "s": separators}) == pieces


def test_string_split_takes_texts() -> None:
    assert refuses("States.StringSplit(5, ',')")
    assert refuses("States.StringSplit('a', 5)")


# Numbers and ids.


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [
        (-9, 3, -6),
        (1.49, 1.5, 3),
        (-1.5, -1.51, -3),
        (2.5, 0, 3),
        (-2.5, 0, -2),
        (-0.5, 0, 0),
        (2**31 - 2, 1, 2**31 - 1),
    ],
)
def test_math_add_rounds_each_argument_half_up(left: float, right: float, total: int) -> None:
    result = call("States.MathAdd($.l, $.r)", {"l": left, "r": right})
    assert result == total
    assert isinstance(result, int)


@pytest.mark.parametrize(("left", "right"), [(2**31 - 1, 1), (-(2**31), -1), (3_000_000_000, 1), (1, 1e300)])
def test_math_add_stays_within_32_bits(left: float, right: float) -> None:
    assert refuses("States.MathAdd($.l, $.r)", {"l": left, "r": right})


@pytest.mark.parametrize("value", ["'1'", "true", "null", "$"])
def test_math_add_takes_numbers(value: str) -> None:
    assert refuses(f"States.MathAdd({value}, 1)", [])


def test_math_random_includes_the_start_and_excludes_the_end() -> None:
    draws = [
        call("States.MathRandom(1, 4)", None, Surroundings(draw=draw)) for draw in (0.0, 0.34, 0.99999999999999994)
    ]
    assert draws == [1, 2, 3]
    assert call("States.MathRandom(1.6, 5.4)", None, Surroundings(draw=0.0)) == 1
    assert refuses("States.MathRandom(1.4, 1.6)")
    assert refuses("States.MathRandom(4, 4)")
    assert refuses("States.MathRandom(5, 4)")
    assert refuses("States.MathRandom('1', 4)")


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [
        ("1, 1000, 1", 106), ("1, 1000, 2", 806), ("1, 100, 42", 63), ("1, 10, -10", 1), ("1, 10, 0", 7),
        ("2147483640, 2147483647, 1", 2147483644),
    ],
)  # fmt: skip
def test_math_random_with_a_seed_gives_awss_number_and_draws_nothing(arguments: str, drawn: int) -> None:
    """The numbers are AWS's."""
    for draw in (0.1, 0.9):
        assert call(f"States.MathRandom({arguments})", None, Surroundings(draw=draw)) == drawn


@pytest.mark.parametrize(("start", "end"), [(0, 8), (-(2**31), 2**31 - 1), (0, 1_500_000_000)])
def test_math_random_with_a_seed_stays_within_every_range(start: int, end: int) -> None:
    for seed in range(50):
        drawn = call(f"States.MathRandom({start}, {end}, {seed})")
        assert isinstance(drawn, int)
        assert start <= drawn < end


def test_uuid_comes_from_the_environment() -> None:
    assert call("States.UUID()") == NOWHERE.uuid()
    assert call("States.UUID($.x, 2)", {"x": 1}) == NOWHERE.uuid()


# Failures.


@pytest.mark.parametrize(
    "text",
    [
        "States.UUID($.nope)", "States.MathAdd($.nope)", "States.Format('{}', States.MathAdd(1, $.nope))",
    ],
)  # fmt: skip
def test_a_missing_argument_fails_before_the_function_looks_at_any(text: str) -> None:
    assert "'$.nope' could not be found in the input" in cause(text, {})


@pytest.mark.parametrize(
    "text",
    [
        "States.Format()", "States.StringToJson()", "States.MathAdd(1)", "States.MathAdd(1, 2, 3)",
        "States.MathRandom(1)", "States.MathRandom(1, 2, 3, 4)", "States.Hash('x')", "States.Hash()",
        "States.JsonMerge($, $)", "States.ArrayRange(1, 5)", "States.ArrayContains($)", "States.Base64Encode('a', 'b')",
    ],
)  # fmt: skip
def test_a_wrong_count_of_arguments_is_a_failure_of_the_running_state(text: str) -> None:
    name = text.partition("(")[0]
    assert cause(text, {}) == (
        f"There was an error while evaluating the intrinsic function: {text}. Invalid arguments in {name}"
    )


@pytest.mark.parametrize("text", ["States.JsonToString()", "States.JsonToString($, $)"])
def test_json_to_string_says_how_many_arguments_it_takes(text: str) -> None:
    assert cause(text, {}) == (
        f"There was an error while evaluating the intrinsic function: {text}. "
        "Invalid arguments in States.JsonToString: only a single argument is allowed."
    )


def test_a_refusal_names_the_whole_expression_and_the_inner_function() -> None:
    text = "States.Array(States.ArrayLength(States.JsonToString($)), 1)"
    assert cause(text, {}) == (
        f"There was an error while evaluating the intrinsic function: {text}. Invalid arguments in States.ArrayLength"
    )


def test_a_missing_argument_names_the_whole_expression_the_path_and_the_input() -> None:
    for text in (
        "States.Format('{}', $.nope)",
        "States.Format('{}',$.nope)",
        "States.Format($.nope, 1)",
        "States.Format('{}', States.Format('{}', $.nope))",
        "States.ArrayLength($.nope)",
    ):
        assert cause(text, {"other": 1}) == (
            f"The function '{text}' had the following error: "
            "The JsonPath argument for the field '$.nope' could not be found in the input '{\"other\":1}'"
        )


def test_an_index_beyond_the_list_is_missing_in_a_call() -> None:
    assert "'$.items[5]' could not be found in the input '{\"items\":[1]}'" in cause(
        "States.Format('{}', $.items[5])", {"items": [1]}
    )


def test_a_missing_part_of_the_context_object_is_named_without_its_first_dollar() -> None:
    assert cause("States.Format('{}', $$.No.Such)", {"other": 1}).endswith(
        "The JsonPath argument for the field '$.No.Such' could not be found in the input '{\"other\":1}'"
    )


def test_an_index_of_something_else_than_a_list_has_jayways_sentence() -> None:
    assert cause("States.Format('{}', $.other[0])", {"other": 1}) == (
        "The function 'States.Format('{}', $.other[0])' had the following error: "
        "Filter: [0] can only be applied to arrays. Current context is: 1"
    )


def test_a_value_nested_too_deeply_is_a_failure_of_the_state() -> None:
    deep: Json = 1
    for _ in range(100_000):
        deep = [deep]
    for text in ("States.JsonToString($)", "States.Format('{}', $)", "States.ArrayUnique($)"):
        assert refuses(text, deep)
    assert refuses("States.ArrayContains($, $[0])", [deep])


# Syntax.


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "States", "States.", "States. ", "Format('x')", "JsonToString($)", "States\nJsonToString($)",
        " States.UUID()", "States.UUID", "States.UUID (", "States.UUID ()", "States.UUID(", "States.UUID())",
        "States.UUID() x", "States.UUID()States.UUID()", "States.Nope()", "states.UUID()", "States.format('x')",
        "States.JsonToString($", "States.StringToJson $.a)", "States.ArrayLength($.)", "States.UUID(,)",
        "States.Array(1 2)", "States.Array(1,)", "States.Array(,1)", "States.Array('a)", "States.Array(\"a\")",
        "States.Array(x)", "States.Array(1.)", "States.Array(+1)", "States.Array(nulls)", "States.Array(01)",
        "States.Array(1e999)", "States.Array($.a b)", "States.Array($.a[)", "States.Array(Nope())",
        "States.Array('\\n')", "States.Array('\\x')", "States.Array('\\", "States.Array('\\\"')",
        "States.StringToJson('{\"text\":\"An \\\"escaped double quote\\\" here\"}')",
    ],
)  # fmt: skip
def test_other_texts_are_no_calls(text: str) -> None:
    with pytest.raises(IntrinsicSyntaxError):
        compile_intrinsic(text)


def test_calls_nest_at_most_ten_deep() -> None:
    assert call("States.Array(" * 10 + ")" * 10) == [[[[[[[[[[]]]]]]]]]]
    for depth in (11, 5_000):
        with pytest.raises(IntrinsicSyntaxError, match="at most 10 deep"):
            compile_intrinsic("States.Array(" * depth + ")" * depth)


def test_a_call_knows_its_name_and_all_its_paths() -> None:
    compiled = compile_intrinsic("States.Format($.t, $$.x, States.Array($v.a, $.b[?(@.c in ['1,)'])], $['d,)']))")
    assert compiled.name == "States.Format"
    assert [path.text for path in compiled.paths] == ["$.t", "$$.x", "$v.a", "$.b[?(@.c in ['1,)'])]", "$['d,)']"]
    assert [path.variable for path in compiled.paths] == [None, None, "v", None, None]


def test_all_eighteen_functions_of_aws_are_there() -> None:
    assert len(INTRINSIC_NAMES) == 18
    for name in INTRINSIC_NAMES:
        with pytest.raises(IntrinsicSyntaxError, match="expected"):
            compile_intrinsic(f"{name}(1,2,3,4,5,6,7,8,9")


_fragments = st.sampled_from(
    ["States.", "Format", "Array", "Hash", "(", ")", ",", "'", "{}", "\\", "$", ".a", "[0]", "1", "-", "null", " ", "é"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(_fragments, max_size=16).map("".join) | st.text(max_size=20), documents)
def test_any_text_is_a_call_or_refused_and_evaluation_only_fails_as_documented(text: str, document: Json) -> None:
    try:
        compiled = compile_intrinsic(text)
    except IntrinsicSyntaxError:
        return
    before = copy.deepcopy(document)
    try:
        compiled.evaluate(document, NOWHERE)
    except StateFailed as failure:
        assert failure.error == "States.Runtime"  # noqa: PT017  success is as good
    assert document == before


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(INTRINSIC_NAMES), st.lists(documents, max_size=3))
def test_no_function_fails_otherwise_or_changes_its_arguments(name: str, values: list[Json]) -> None:
    text = f"{name}({', '.join(f'$[{place}]' for place in range(len(values)))})"
    try:
        compiled = compile_intrinsic(text)
    except IntrinsicSyntaxError:
        return
    before = copy.deepcopy(values)
    try:
        compiled.evaluate(values, NOWHERE)
    except StateFailed as failure:
        assert f"function: {text}. " in failure.cause  # noqa: PT017  success is as good
    assert values == before
