"""Read a YAML file of rules, and report each mistake with its line and its correction.

The text may come from anyone who uses the console, so reading it costs little whatever it is: long
texts, deep nesting, aliases that repeat each other and huge numbers are refused before they cost.
"""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from merganser.rulebook.language import Location, Rule, RuleFile, Source
from merganser.rulebook.values import is_storable

MAX_BYTES = 262_144
"""UTF-8 bytes of a file: about 2,000 rules."""

MAX_DEPTH = 20
"""Levels of nesting; rules need 8."""

MAX_EXPANDED = 1 << 20
"""Characters and nodes of a file, if each alias were written out."""

MAX_NUMBER = 100
"""Characters of a number."""

MAX_MISTAKES = 50
"""Mistakes that are reported."""

_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


class Mistake(NamedTuple):
    """What is wrong in a file."""

    line: int
    """Starts at 1."""
    message: str
    """What to write instead."""


class RuleFileError(ValueError):
    """The file cannot be applied. Each argument is one mistake: `file:line: what to write`.

    Args:
        name: of the file.
        mistakes: the first of them.
    """

    def __init__(self, name: str, mistakes: Sequence[Mistake]) -> None:
        super().__init__(*(f"{name}:{mistake.line}: {mistake.message}" for mistake in mistakes))
        self.mistakes = mistakes

    def __str__(self) -> str:
        return "\n".join(self.args)


def read(path: Path) -> RuleFile:
    """Return the rules in a file.

    Raises:
        RuleFileError: the file is not YAML, or its rules are invalid or contradict each other.
        OSError: the file cannot be read.
    """
    return parse(path.read_text(), str(path))


def parse(text: str, name: str = "rules") -> RuleFile:
    """Return the rules in the text of a file.

    Args:
        text: YAML.
        name: of the file, for the error.

    Raises:
        RuleFileError: the text is not YAML, or its rules are invalid or contradict each other.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise RuleFileError(name, [Mistake(1, f"a file has at most {MAX_BYTES:,} bytes")])
    try:
        root, content = _load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RuleFileError(name, [Mistake(line, f"not valid YAML: {error.problem}")]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"the character U+{error.character:04X} is not allowed"
        raise RuleFileError(name, [Mistake(line, f"not valid YAML: {problem}")]) from None
    if not isinstance(content, dict):
        raise RuleFileError(name, [Mistake(1, "write `rules:` and under it a list of rules")])
    try:
        file = RuleFile.model_validate(content)
        found = list(islice(file.find_contradictions(), MAX_MISTAKES + 1))
    except ValidationError as error:
        found = [
            (mistake["loc"], _describe(mistake)) for mistake in error.errors()[: MAX_MISTAKES + 1]
        ]
    if not found:
        return file
    mistakes = [
        Mistake(_find_line(root, location), f"{_prefix(location)}{message}")
        for location, message in found[:MAX_MISTAKES]
    ]
    if len(found) > MAX_MISTAKES:
        mistakes.append(Mistake(mistakes[-1].line, "there are more mistakes"))
    raise RuleFileError(name, mistakes)


def dump(rules: Iterable[Rule], sources: Mapping[str, Source] | None = None) -> str:
    """Return the text of a file with these rules and sources."""
    content: dict[str, Any] = {}
    if sources:
        content["sources"] = {
            name: source.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for name, source in sources.items()
        }
    content["rules"] = [
        rule.model_dump(mode="json", by_alias=True, exclude_defaults=True) for rule in rules
    ]
    return yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None
    )


class _Loader(yaml.SafeLoader):
    """Refuses a text as soon as it would cost much to read."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        self._sizes: dict[yaml.Node, tuple[int, int]] = {}
        """Characters and levels of each node, with each alias written out."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node."""
        start = self.peek_event().start_mark  # type: ignore[no-untyped-call] # in the stubs
        self._level += 1
        if self._level > MAX_DEPTH:
            raise _refuse(f"more than {MAX_DEPTH} levels of nesting", start)
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._level -= 1
        if node is not None and node not in self._sizes:
            if is_alias:
                raise _refuse("an alias is inside of its own value", start)
            self._sizes[node] = self._measure(node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as PyYAML has it
        """Return the value of a node."""
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception:  # noqa: BLE001 - a scalar that does not fit its tag raises anything
            tag = node.tag.rpartition(":")[2]
            problem = f"{_SHORT.repr(node.value)} is not a valid {tag}: quote it if it is text"
            raise _refuse(problem, node.start_mark) from None

    def _measure(self, node: yaml.Node) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            if node.tag in (_INTEGER, _FLOAT) and len(node.value) > MAX_NUMBER:
                problem = f"a number has at most {MAX_NUMBER} characters: quote it if it is text"
                raise _refuse(problem, node.start_mark)
            if not is_storable(node.value):
                raise _refuse("Postgres cannot store NUL or half a character", node.start_mark)
            return len(node.value) + 1, 1
        children: list[yaml.Node] = node.value
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        size = 1 + sum(self._sizes[child][0] for child in children)
        levels = 1 + max((self._sizes[child][1] for child in children), default=0)
        if size > MAX_EXPANDED or levels > MAX_DEPTH:
            raise _refuse("aliases make the file too large", node.start_mark)
        return size, levels


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines, such as SQL, as they are."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002 - as PyYAML has it
        """Indent lists, too."""
        super().increase_indent(flow, False)


_Dumper.add_representer(str, _Dumper.represent_text)


def _load(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the root node of a text, and its value."""
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _refuse(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


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
            return f"{_SHORT.repr(mistake['input'])} does not match {mistake['ctx']['pattern']}"
        case "value_error":
            return str(mistake["ctx"]["error"])
    message = f"{mistake['msg'][0].lower()}{mistake['msg'][1:]}"
    return f"{message}, not {_SHORT.repr(mistake['input'])}"
