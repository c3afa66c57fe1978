"""JSON values become strings without loss or change."""

import pytest

from schemas.exact_json import DEEPEST, NotANumber, Number, UnstorableValue, as_text, loads

DEPTH = 32


def convert(text: str, depth: int = DEPTH) -> str:
    return as_text(loads(text), depth)


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "-0.0", "19.990", "1e400", "1E+2", "9007199254740993", "0.1", "1" * 5000],
    ids=lambda number: number[:20],
)
def test_a_number_keeps_its_digits(number: str) -> None:
    assert convert(number) == number
    assert convert(f'{{"n": [{number}]}}') == f'{{"n":[{number}]}}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"plain"', "plain"),
        ('""', ""),
        ('"\\"quoted\\" \\\\ \\t \\n \\u00e9 \\ud83e\\udd86"', '"quoted" \\ \t \n é 🦆'),
        ("true", "true"),
        ("false", "false"),
        ('{"a" : {"b" : [1, 2.50, null, true, "x y"]}}', '{"a":{"b":[1,2.50,null,true,"x y"]}}'),
        ('{"city": "Z\\u00fcrich"}', '{"city":"Zürich"}'),
        ('["say \\"hi\\"", "a\\\\b", "tab\\t"]', '["say \\"hi\\"","a\\\\b","tab\\t"]'),
        ("{}", "{}"),
        ("[]", "[]"),
    ],
)
def test_strings_are_kept_and_other_values_become_compact_json(text: str, expected: str) -> None:
    assert convert(text) == expected


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_nan_and_infinity_are_read_and_refused_as_values(word: str) -> None:
    """So a batch loses only the event that has such a value."""
    good, bad = loads(f"[1.0, {word}]")
    assert isinstance(bad, NotANumber)
    assert as_text(good, DEPTH) == "1.0"
    with pytest.raises(UnstorableValue, match=f"{word} is not a JSON number"):
        as_text(bad, DEPTH)
    with pytest.raises(UnstorableValue, match="not a JSON number"):
        as_text([{"deep": bad}], DEPTH)


def test_the_last_value_of_a_repeated_key_counts() -> None:
    assert convert('{"a": 1, "b": 2, "a": 3}') == '{"a":3,"b":2}'


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_up_to_the_depth_is_kept(opening: str, closing: str) -> None:
    def nest(levels: int) -> str:
        return opening * levels + "1" + closing * levels

    assert convert(nest(DEPTH)) == nest(DEPTH)
    with pytest.raises(UnstorableValue, match="nested too deeply"):
        convert(nest(DEPTH + 1))


def test_at_depth_0_only_scalars_are_kept() -> None:
    assert convert("1", depth=0) == "1"
    with pytest.raises(UnstorableValue):
        convert("[]", depth=0)


@pytest.mark.parametrize("levels", [1_000, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"]":["[{\\"",', "]}")])
def test_extreme_nesting_affects_only_its_value(levels: int, opening: str, closing: str) -> None:
    before, deep, after = loads(f'["]", {opening * levels}1{closing * levels}, "after"]')
    assert (before, after) == ("]", "after")
    with pytest.raises(UnstorableValue, match="nested too deeply"):
        as_text(deep, DEEPEST)


def test_the_maximum_depth_is_written() -> None:
    deepest = "[" * DEEPEST + "1" + "]" * DEEPEST
    assert convert(deepest, DEEPEST) == deepest


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[" * 5000, id="no end"),
        pytest.param("[" * 5000 + "]" * 4999, id="one short"),
        pytest.param("[" * 5000 + "]" * 5001, id="one more"),
        pytest.param("[" * 5000 + "}" * 5000, id="others"),
        pytest.param("[" * 5000 + '"' + '\\"' * 400_000, id="a string without an end"),
    ],
)
def test_unbalanced_extreme_nesting_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        loads(text)


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", '{"a": 1', '{"a" 1}', "[1,]", "{'a': 1}", '"line\nbreak"', "01", "1 2", "nan"],
)
def test_invalid_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        loads(text)


def test_a_number_and_a_string_differ() -> None:
    assert isinstance(loads("12"), Number)
    assert loads('"12"') == "12"
