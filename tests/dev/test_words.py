"""The checker finds banned words and accepts plain English."""

import pytest

from dev import words


@pytest.mark.parametrize(
    "line",
    [
        "# Who is who (design §4).",
        "the seed's own system",
        "computed anew",
        "mend the cause",
        "Whoever deletes",
        "a text that is no number",
        "the events come home",
        "neighbours",
        "a process of its own.",
        "None stands for nobody",
        "async def test_nothing_is_told_without_a_key() -> None:",
        "def test_what_is_no_key_is_refused() -> None:",
        "    said = response.json()",
        "the port is taken at its word",
        "an operator takes that back",
        "serialised",
        "The licence is in LICENSE",
        "see profiles/identity.py",
    ],
)
def test_a_banned_word_is_found(line: str) -> None:
    assert list(words.find("file", line))


@pytest.mark.parametrize(
    "line",
    [
        "there is no limit",
        "it is no longer there",
        "is no more than 3",
        "make chaos repeats the seed",
        "recommend, amend",
        "merganser/identity/plan.py and merganser/cli/keys.py",
        "four hours, encourage, contour",
        "use your own key, instead of its own",
        "def test_a_request_without_a_key_gets_no_data() -> None:",
        "a stand-in for the broker",
        "the seed's own system # words: ok",
    ],
)
def test_plain_english_is_accepted(line: str) -> None:
    assert not list(words.find("file", line))


def test_a_finding_names_the_line_and_what_to_write() -> None:
    (found,) = words.find("docs/x.md", "one\ncomputed anew\n")
    assert found == ("docs/x.md", 2, "anew", "again, or from scratch")
