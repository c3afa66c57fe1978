"""`python -m dev.words [PATH ...]`: fail on words that the project does not use.

docs/glossary.md has the project's terms. A line that needs a banned word ends in `words: ok`.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]

BANNED = {
    r"design §|(?<!\d{4} )§ ?\d": "say it here: the reader does not have that document",
    r"\bthe seed(?:'s| document| system)\b": "the Grouparoo event system",
    r"\banew\b": "again, or from scratch",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bwho(?:m|so)?ever\b": "anyone who, or name the actor",
    r"\beverybody\b": "everyone, each client, or name the actor",
    r"(?<=\S )(?<![Tt]here )\b(?:is|are) no (?!longer\b|more\b|less\b|later\b|earlier\b)[a-z]": (
        "is not a"
    ),
    r"\b(?:come|comes|came|bring|brings|brought)(?: \w+)? home\b": "name what happens",
    r"\bin the clothes of\b": "as",
    r"\bwhat is left of\b": "the rest of",
    r"\bhas come so far\b": "is at",
    r"\bwho is who\b": "identity, or which profile an event belongs to",
    r"(?<!instead )\bof (?:its|their|our) own(?=[.,;:)\"'`|]|$)": "its own X, or a separate X",
    r"\bstands? for\b": "means, or matches",
    r"(?<![a-z])(?:is|are|was|were|be|been)[ _]told(?![a-z])": "name the message and who gets it",
    r"\btak(?:e|es|ing) (?:it|that|this|them) back\b": "reverse, or undo",
    r"\b(?:said|told|asked)(?:: [\w\[\], ]+)? = ": "a noun for the value",
    r"\bfor (?:\w+, )?(?:said|told|asked) in\b": "a noun for the value",
    r"\bdef test_(?:what|who|whatever|but|so)_": "a subject, as in test_a_bad_key_is_refused",
    r"\b(?:what is|that are|that is) there\b": "what exists, or is stored",
    r"\bneighbors?\b": "the other events, rows or profiles",
    r"\bbut for\b": "except",
    r"\bfor ever\b": "forever, or without limit",
    r"\b(?:at its word|dawdl\w+|dealt with)\b": "a common word: accept, delay, handle",
    r"\bcosts? no (?:other|event)\b": "does not affect",
    r"\b(?:amid|lest|hence|thereof|herein|hereby|whilst|amongst|thither|shall)\b": "a common word",
    r"\b(?:behavi|col|neighb|hon|fav|flav|lab|rum)our(?!e)": "American spelling: -or",
    r"\b(?:organ|recogn|serial|normal|initial|optim|summar|synchron|util|priorit|minim|maxim)"
    r"is(?:e|es|ed|ing|ation)\b": "American spelling: -ize",
    r"\b(?:analyse[sd]?|licence|centre[sd]?|catalogue|artefacts?|labell(?:ed|ing)|modell(?:ed|ing)"
    r"|travell(?:ed|ing)|defence|grey)\b": "American spelling",
    r"(?<![\w/.-])(?:letters|profiles|runtime|stack|bench|cli)/\w+\.(?:py|sql)\b": (
        "the module's path today"
    ),
}
"""What to write instead, by pattern."""

SKIPPED = (
    "LICENSE",
    "clients/javascript/package.json",
    "deploy/grafana/dashboards/",
    "dev/words.py",
    "merganser/http/swagger_ui/LICENSE",
    # Released migrations never change.
    "schemas/migrations/000",
    "schemas/migrations/0015",
    "tests/bad_input/",
    "tests/clients/package.json",
    "tests/data/",
    "tests/dev/test_words.py",
)
SUFFIXES = {
    "", ".cfg", ".css", ".html", ".ini", ".js", ".md", ".mjs", ".properties", ".py", ".sh", ".sql",
    ".toml", ".ts", ".tpl", ".xml", ".yaml", ".yml",
}  # fmt: skip


class Finding(NamedTuple):
    """A banned word: where it is, and what to write instead."""

    file: str
    line: int
    word: str
    instead: str


def find(file: str, text: str) -> Iterator[Finding]:
    """Yield the banned words of a text, in order of lines."""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.rstrip().endswith("words: ok"):
            continue
        for pattern, instead in BANNED.items():
            for match in re.finditer(pattern, line, re.IGNORECASE):
                yield Finding(file, number, match.group(), instead)


def tracked(paths: Iterable[str]) -> Iterator[str]:
    """Yield the tracked text files below some paths, or all, relative to the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *paths], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().split("\0"):
        if (
            name
            and not name.startswith(SKIPPED)
            and Path(name).suffix in SUFFIXES
            and (ROOT / name).is_file()
            and not (ROOT / name).is_symlink()
        ):
            yield name


def main(paths: list[str]) -> int:
    """Print each banned word and return how the process exits: 1 if there is one."""
    found = [
        finding for name in tracked(paths) for finding in find(name, (ROOT / name).read_text())
    ]
    for finding in found:
        sys.stdout.write(
            f"{finding.file}:{finding.line}: {finding.word!r}: write {finding.instead}\n"
        )
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
