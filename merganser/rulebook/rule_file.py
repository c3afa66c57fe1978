"""A YAML file of rules; each mistake is told with its line and what to write instead."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merganser.rulebook.language import Place, RuleFile


class Mistaken(ValueError):
    """The file cannot be applied; each argument is a line `file:line: what to write instead`."""

    def __str__(self) -> str:
        return "\n".join(self.args)


def read(path: Path) -> RuleFile:
    """The rules in a file.

    Raises:
        Mistaken: it is no YAML, or says what no rule can say.
        OSError: it cannot be read.
    """
    text = path.read_text()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise Mistaken(f"{path}:{line}: this is no YAML: {error.problem}") from None
    if not isinstance(content, dict):
        raise Mistaken(f"{path}:1: write `rules:` and under it a list of rules")
    try:
        file = RuleFile.model_validate(content)
        problems = list(file.contradictions())
    except ValidationError as error:
        problems = [(problem["loc"], _what(problem)) for problem in error.errors()]
    if problems:
        raise Mistaken(
            *(f"{path}:{_line(root, place)}: {_where(place)}{what}" for place, what in problems)
        )
    return file


def _line(node: yaml.Node | None, place: Place) -> int:
    """The line of the innermost part of the file on the way to a place."""
    line = node.start_mark.line + 1 if node else 1
    for step in place:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            found = node.value[step]
            line = found.start_mark.line + 1
        if found is not None:
            node = found
    return line


def _where(place: Place) -> str:
    names = [str(step) for step in place if isinstance(step, str) and step.isidentifier()]
    return f"{'.'.join(names)}: " if names else ""


def _what(problem: Any) -> str:
    match problem["type"]:
        case "extra_forbidden":
            return "unknown; remove it, or look for a misspelling"
        case "missing":
            return "missing; write it"
        case "string_pattern_mismatch":
            return f"{problem['input']!r} does not match {problem['ctx']['pattern']}"
        case "value_error":
            return str(problem["ctx"]["error"])
    return f"{problem['msg'][0].lower()}{problem['msg'][1:]}, not {problem['input']!r}"
