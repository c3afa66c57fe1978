"""The identity graph of a profile: where each line of the drawing starts, bends and ends.

A line is an anonymousId. It joins the profile's own line where a link gave it to the user, and
leaves it where an earlier link, or `merganser unlink`, gave it to another profile. Columns are the
moments at which something happened, in order: distances between them are not to scale.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from merganser.identity.explain import ExplainedAnonymousId, ExplainedMerge, describe_merge

_LABEL_WIDTH = 210
_MIN_COLUMN, _MAX_COLUMN = 44, 120
_DRAWING_WIDTH = 700
_TOP = 26
_ROW = 42
_CORNER = 14
_TAIL = 64


@dataclass(frozen=True, slots=True)
class Change:
    """The profile got or lost an anonymousId: a numbered circle, and a row of the table."""

    number: int
    at: datetime
    anonymous_id: str
    event: str
    """Guid of the link."""
    reason: str
    sentence: str
    leaves: bool
    other: str | None
    """Guid of the other profile, if there is one."""
    other_exists: bool
    x: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """An anonymousId in the drawing: its label, and the path of its line."""

    label: str
    y: int
    label_x: int
    path: str
    leaves: bool
    dot_x: int | None
    """Where the anonymousId was first seen; None for one that leaves."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The drawing; lengths are pixels."""

    width: int
    height: int
    main_y: int
    main_start: int
    main_end: int
    lines: list[Line]
    changes: list[Change]


def draw(
    profile: str,
    anonymous_ids: Sequence[ExplainedAnonymousId],
    merges: Sequence[ExplainedMerge],
    first_seen: Mapping[str, datetime],
) -> Graph:
    """Return the drawing of a profile's identity.

    Args:
        profile: guid.
        anonymous_ids: of the profile.
        merges: to the profile and from it.
        first_seen: when each anonymousId was first seen, if that is known.
    """
    changes = _list_changes(profile, anonymous_ids, merges)
    joins = [change for change in changes if not change.leaves]
    unlinked = [known for known in anonymous_ids if known.link_event is None]
    starts = {
        change.number: min(first_seen.get(change.anonymous_id, change.at), change.at)
        for change in joins
    }
    # At the same time, a line starts before one ends.
    moments = sorted(
        [(at, 0, number) for number, at in starts.items()]
        + [(change.at, 1, change.number) for change in changes]
    )
    column = max(_MIN_COLUMN, min(_MAX_COLUMN, _DRAWING_WIDTH // max(len(moments), 1)))
    x = {
        (kind, number): _LABEL_WIDTH + column * position
        for position, (_, kind, number) in enumerate(moments)
    }
    changes = [replace(change, x=x[1, change.number]) for change in changes]
    lines = []
    for row, change in enumerate(changes, start=1):
        y = _TOP + _ROW * row
        if change.leaves:
            lines.append(_leaving_line(change, y))
        else:
            lines.append(_joining_line(change, y, x[0, change.number]))
    claims = [change.x for change in changes if change.reason == "claimed"]
    main_end = _LABEL_WIDTH + column * len(moments) + _TAIL
    main_start = min(claims) if claims and claims[0] == changes[0].x else _LABEL_WIDTH
    for row, known in enumerate(unlinked, start=len(changes) + 1):
        y = _TOP + _ROW * row
        lines.append(
            Line(known.anonymous_id, y, 0, f"M{_LABEL_WIDTH} {y}H{main_end}", False, _LABEL_WIDTH)
        )
    height = _TOP + _ROW * (len(changes) + len(unlinked)) + _ROW // 2
    return Graph(main_end + _TAIL, height, _TOP, main_start, main_end, lines, changes)


def _list_changes(
    profile: str,
    anonymous_ids: Sequence[ExplainedAnonymousId],
    merges: Sequence[ExplainedMerge],
) -> list[Change]:
    """Return the changes in the order of time, numbered from 1.

    An anonymousId whose first event was a link never had its own profile, so there was no merge.
    """
    found = [
        Change(
            0,
            merge.merged_at,
            merge.anonymous_id,
            merge.link_event,
            merge.reason,
            describe_merge(merge),
            leaves=merge.survivor != profile,
            other=merge.survivor if merge.survivor != profile else merge.loser,
            other_exists=merge.reason != "merged",
        )
        for merge in merges
    ]
    merged = {merge.anonymous_id for merge in merges}
    found += [
        Change(
            0,
            known.linked_at,
            known.anonymous_id,
            known.link_event,
            "linked",
            f"{known.anonymous_id} had no profile: its first event already had the userId",
            leaves=False,
            other=None,
            other_exists=False,
        )
        for known in anonymous_ids
        if known.link_event and known.linked_at and known.anonymous_id not in merged
    ]
    found.sort(key=lambda change: (change.at, change.anonymous_id))
    return [replace(change, number=number) for number, change in enumerate(found, start=1)]


def _joining_line(change: Change, y: int, start: int) -> Line:
    turn = max(change.x - _CORNER, start)
    path = f"M{start} {y}H{turn}Q{change.x} {y} {change.x} {y - _CORNER}V{_TOP}"
    return Line(change.anonymous_id, y, 0, path, leaves=False, dot_x=start)


def _leaving_line(change: Change, y: int) -> Line:
    end = change.x + _TAIL
    path = f"M{change.x} {_TOP}V{y - _CORNER}Q{change.x} {y} {change.x + _CORNER} {y}H{end}"
    return Line(change.anonymous_id, y, end + 8, path, leaves=True, dot_x=None)
