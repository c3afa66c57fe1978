"""Set-aside items on a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from merganser.admin.dead_letters.set_aside_items import Item
from merganser.cli.terminal import out
from merganser.runtime.set_aside import Kind

SHOWN = 100
"""Items that a table lists."""

_MEANING = {
    Kind.ROW: "a row that another system wrote into events, and that the scanner cannot resolve",
    Kind.MOVE: "events that follow a merge, from this profile to another one",
    Kind.ERASURE: "events of an erased person, by the guid of the profile",
    Kind.PROFILE: "a profile whose properties cannot be computed from its events",
    Kind.VALUE: "a value that a company database returned for this profile",
}
_PLACE = {Kind.MOVE: "anonymousId", Kind.VALUE: "rule"}


def show_all(items: Sequence[Item]) -> None:
    """Print a table of items, the latest ones if there are many."""
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
            _state(item),
        )
    out.print(table)
    if len(items) > SHOWN:
        out.print(f"and {len(items) - SHOWN:,} earlier ones", highlight=False)
    out.print(f"{len(items):,} set-aside items")


def show(item: Item) -> None:
    """Print all that is known of an item."""
    lines = {
        "item": f"{item.name}: {_MEANING[item.kind]}",
        "reason": item.reason,
        "attempts": f"{item.attempts}, first {item.created_at:%Y-%m-%d %H:%M:%S}Z, "
        f"last {item.updated_at:%Y-%m-%d %H:%M:%S}Z",
    }
    if item.place:
        lines[_PLACE[item.kind]] = item.place
    for name, text in lines.items():
        out.print(f"[bold]{name:11}[/] {escape(text)}", highlight=False, soft_wrap=True)
    out.print(f"[bold]{'state':11}[/] {_state(item)}", highlight=False)


def as_data(item: Item) -> dict[str, Any]:
    """The same as data."""
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


def _state(item: Item) -> str:
    return "[yellow]open" if item.state == "open" else f"[dim]{item.state}"
