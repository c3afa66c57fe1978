"""Read a YAML file of rules, and report each mistake with its line and its correction."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from merganser.rulebook.language import Location, RuleFile


class RuleFileError(ValueError):
    """The file cannot be applied. Each argument is one mistake: `file:line: what to write`."""

    def __str__(self) -> str:
        return "\n".join(self.args)


def read(path: Path) -> RuleFile:
    """Return the rules in a file.

    Raises:
        RuleFileError: the file is not YAML, or its rules are invalid or contradict each other.
        OSError: the file cannot be read.
    """
    text = path.read_text()
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RuleFileError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    if not isinstance(content, dict):
        raise RuleFileError(f"{path}:1: write `rules:` and under it a list of rules")
    try:
        file = RuleFile.model_validate(content)
        mistakes = list(file.find_contradictions())
    except ValidationError as error:
        mistakes = [(mistake["loc"], _describe(mistake)) for mistake in error.errors()]
    if mistakes:
        raise RuleFileError(
            *(
                f"{path}:{_find_line(root, location)}: {_prefix(location)}{message}"
                for location, message in mistakes
            )
        )
    return file


def _find_line(node: yaml.Node | None, location: Location) -> int:
    """Return the line of the innermost node that exists on the path to a location."""
    line = node.start_mark.line + 1 if node else 1
    for step in location:
        child = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, child = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            child = node.value[step]
            line = child.start_mark.line + 1
        if child is not None:
            node = child
    return line


def _prefix(location: Location) -> str:
    names = [str(step) for step in location if isinstance(step, str) and step.isidentifier()]
    return f"{'.'.join(names)}: " if names else ""


def _describe(mistake: Any) -> str:
    match mistake["type"]:
        case "extra_forbidden":
            return "unknown field: remove it or correct its spelling"
        case "missing":
            return "missing field: add it"
        case "string_pattern_mismatch":
            return f"{mistake['input']!r} does not match {mistake['ctx']['pattern']}"
        case "value_error":
            return str(mistake["ctx"]["error"])
    return f"{mistake['msg'][0].lower()}{mistake['msg'][1:]}, not {mistake['input']!r}"
