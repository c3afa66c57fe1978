"""One dead letter on a terminal: its headers, and the record byte for byte."""

from collections.abc import Iterator

import typer
from rich.markup import escape

from merganser.admin.dead_letters.resolutions import Handled
from merganser.admin.dead_letters.topic import Found
from merganser.cli.terminal import out
from schemas.dead_letter import Letter

_COLUMNS = 16


def show(found: Found, letter: Letter, handled: Handled | None) -> None:
    """Print all of it."""
    lines = {
        "letter": f"{found.address}, written {found.at:%Y-%m-%d %H:%M:%S}Z",
        "reason": f"{letter.reason}: {letter.error}",
        "record": f"{letter.failed}, {letter.size:,} bytes",
    }
    if letter.attempt > 1:
        lines["attempt"] = f"{letter.attempt}, first failed as {letter.origin}"
    if letter.dropped:
        lines["record"] = elsewhere(letter)
    for name, text in lines.items():
        out.print(f"[bold]{name:8}[/] {escape(text)}", highlight=False, soft_wrap=True)
    out.print(f"[bold]{'state':8}[/] {state(handled)}", highlight=False)
    if letter.dropped:
        return
    _part("key", letter.key)
    for name, value in letter.headers:
        _part(f"header {name}", value)
    _part("value", letter.value)


def state(handled: Handled | None) -> str:
    """What was done about a letter, in colours."""
    if handled is None:
        return "[yellow]open"
    return f"[dim]{handled.outcome} {handled.at:%Y-%m-%d %H:%M:%S}Z"


def elsewhere(letter: Letter) -> str:
    """Where the record of a letter is that could not hold it."""
    return (
        f"{letter.dropped:,} bytes, too large for a letter: it is where it failed, "
        f"{letter.failed} (topic/partition/offset), as long as that topic keeps it"
    )


def hexdump(data: bytes) -> Iterator[str]:
    """Lines of offset, bytes and what of them is ASCII, as `hexdump -C` has them."""
    for start in range(0, len(data), _COLUMNS):
        some = data[start : start + _COLUMNS]
        text = "".join(chr(byte) if chr(byte) in _PLAIN else "." for byte in some)
        yield f"{start:08x}  {some.hex(' '):{3 * _COLUMNS - 1}}  |{text}|"


_PLAIN = {chr(code) for code in range(0x20, 0x7F)}


def _part(name: str, data: bytes | None) -> None:
    size = "null" if data is None else f"{len(data):,} bytes"
    out.print(f"[bold]{escape(name)}[/] ({size})", highlight=False)
    if data is None:
        return
    text = _text(data)
    for line in hexdump(data) if text is None else [text]:
        typer.echo(line)


def _text(data: bytes) -> str | None:
    """The bytes as text, if a terminal may have them: nothing in it controls one."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one in "\n\t" for one in text) else None
