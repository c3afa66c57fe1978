"""Output of `merganser dead`: lists and single letters and items, as tables, text and JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table

from merganser.admin.dead_letters.letters import LetterSummary
from merganser.admin.dead_letters.resolutions import Resolution
from merganser.admin.dead_letters.set_aside_items import KIND_MEANING, PLACE_MEANING, SetAsideItem
from merganser.admin.dead_letters.topic import DeadTopicRecord
from merganser.cli.terminal import out
from merganser.runtime.set_aside import Kind
from schemas.dead_letter import DeadLetter

SHOWN = 100
"""Rows of a table; the latest ones if there are more."""

_BYTES_PER_LINE = 16
_PRINTABLE_ASCII = {chr(code) for code in range(0x20, 0x7F)}


def show_letters(letters: Sequence[LetterSummary]) -> None:
    """Print a table of letters, and how many there are by reason."""
    table = Table("letter", "written", "reason", "error", "origin", "attempt", "bytes", "")
    for letter in letters[-SHOWN:]:
        table.add_row(
            str(letter.address),
            f"{letter.written_at:%Y-%m-%d %H:%M:%S}Z",
            letter.letter.reason,
            escape(letter.letter.error),
            str(letter.letter.origin),
            str(letter.letter.attempt),
            f"{letter.size:,}",
            _letter_state(letter.resolution) + ("[dim], person erased" if letter.erased else ""),
        )
    _print_table(table, len(letters))
    counts = Counter(letter.letter.reason for letter in letters)
    by_reason = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common())
    out.print(f"{len(letters):,} letters" + (f": {by_reason}" if by_reason else ""))


def letter_json(letter: LetterSummary) -> dict[str, Any]:
    """Return a letter of a list as JSON data."""
    resolution = letter.resolution
    return {
        "kind": Kind.RECORD,
        "letter": str(letter.address),
        "at": letter.written_at.isoformat(),
        "reason": letter.letter.reason,
        "error": letter.letter.error,
        "failed": str(letter.letter.record),
        "origin": str(letter.letter.origin),
        "attempt": letter.letter.attempt,
        "bytes": letter.size,
        "complete": not letter.letter.omitted_bytes,
        "erased": letter.erased,
        "outcome": resolution.outcome if resolution else None,
        "handledAt": resolution.resolved_at.isoformat() if resolution else None,
    }


def show_letter(record: DeadTopicRecord, letter: DeadLetter, resolution: Resolution | None) -> None:
    """Print a letter with the content of its record."""
    lines = {
        "letter": f"{record.address}, written {record.written_at:%Y-%m-%d %H:%M:%S}Z",
        "reason": f"{letter.reason}: {letter.error}",
        "record": f"{letter.record}, {letter.size:,} bytes",
    }
    if letter.attempt > 1:
        lines["attempt"] = f"{letter.attempt}, first failed as {letter.origin}"
    if letter.omitted_bytes:
        lines["record"] = where_record_is(letter)
    _print_lines(lines)
    out.print(f"[bold]{'state':11}[/] {_letter_state(resolution)}", highlight=False)
    if letter.omitted_bytes:
        return
    _print_bytes("key", letter.key)
    for name, value in letter.headers:
        _print_bytes(f"header {name}", value)
    _print_bytes("value", letter.value)


def where_record_is(letter: DeadLetter) -> str:
    """Return where to find a record that is too large for its letter."""
    return (
        f"{letter.omitted_bytes:,} bytes, too large for a letter: it is in {letter.record} "
        "(topic/partition/offset) for as long as that topic keeps it"
    )


def show_items(items: Sequence[SetAsideItem]) -> None:
    """Print a table of set-aside items, if there are any."""
    if not items:
        return
    table = Table("item", "place", "failed", "attempts", "reason", "")
    for item in items[-SHOWN:]:
        table.add_row(
            escape(str(item.name)),
            escape(item.place),
            f"{item.updated_at:%Y-%m-%d %H:%M:%S}Z",
            str(item.attempts),
            escape(item.reason),
            _item_state(item),
        )
    _print_table(table, len(items))
    out.print(f"{len(items):,} set-aside items")
    if any(item.kind is Kind.RECORD for item in items):
        out.print("The dead-letter topic no longer has the letters of these records: drop them.")


def item_json(item: SetAsideItem) -> dict[str, Any]:
    """Return a set-aside item as JSON data."""
    return {
        "kind": item.kind,
        "item": str(item.name),
        "place": item.place,
        "reason": item.reason,
        "attempts": item.attempts,
        "state": item.state,
        "createdAt": item.created_at.isoformat(),
        "at": item.updated_at.isoformat(),
    }


def show_item(item: SetAsideItem) -> None:
    """Print a set-aside item."""
    lines = {
        "item": f"{item.name}: {KIND_MEANING[item.kind]}",
        "reason": item.reason,
        "attempts": f"{item.attempts}, first {item.created_at:%Y-%m-%d %H:%M:%S}Z, "
        f"last {item.updated_at:%Y-%m-%d %H:%M:%S}Z",
    }
    if item.place:
        lines[PLACE_MEANING[item.kind]] = item.place
    _print_lines(lines)
    out.print(f"[bold]{'state':11}[/] {_item_state(item)}", highlight=False)


def hexdump(data: bytes) -> Iterator[str]:
    """Yield lines of offset, bytes and ASCII characters, in the format of `hexdump -C`."""
    for start in range(0, len(data), _BYTES_PER_LINE):
        chunk = data[start : start + _BYTES_PER_LINE]
        text = "".join(chr(byte) if chr(byte) in _PRINTABLE_ASCII else "." for byte in chunk)
        yield f"{start:08x}  {chunk.hex(' '):{3 * _BYTES_PER_LINE - 1}}  |{text}|"


def _print_table(table: Table, rows: int) -> None:
    if rows:
        out.print(table)
    if rows > SHOWN:
        out.print(f"and {rows - SHOWN:,} earlier ones", highlight=False)


def _print_lines(lines: Mapping[str, str]) -> None:
    for name, text in lines.items():
        out.print(f"[bold]{name:11}[/] {escape(text)}", highlight=False, soft_wrap=True)


def _print_bytes(name: str, data: bytes | None) -> None:
    size = "null" if data is None else f"{len(data):,} bytes"
    out.print(f"[bold]{escape(name)}[/] ({size})", highlight=False)
    if data is None:
        return
    text = _printable_text(data)
    for line in hexdump(data) if text is None else [text]:
        typer.echo(line)


def _printable_text(data: bytes) -> str | None:
    """Return the bytes as text, or None if they could control a terminal."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    printable = all(character.isprintable() or character in "\n\t" for character in text)
    return text if printable else None


def _letter_state(resolution: Resolution | None) -> str:
    if resolution is None:
        return "[yellow]open"
    return f"[dim]{resolution.outcome} {resolution.resolved_at:%Y-%m-%d %H:%M:%S}Z"


def _item_state(item: SetAsideItem) -> str:
    return "[yellow]open" if item.state == "open" else f"[dim]{item.state}"
