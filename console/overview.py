"""The first page: the pipeline at work."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from console.monitor import RATE_SAMPLES, Monitor, Sample, rates
from console.pages import render
from merganser.runtime.set_aside import Kind

CHART_WIDTH, CHART_HEIGHT = 720, 150
_TOP = 10
_MIN_RATE = 1.0
"""The least rate that fills the chart's height."""

STALE_SECONDS = 60
OLD_ROW_SECONDS = 300
HIGH_LAG_SECONDS = 10
"""A lag counts as a problem if resolvers need longer for it at their present rate."""


@dataclass(frozen=True, slots=True)
class Chart:
    """Two lines over the last minutes."""

    accepted: list[str]
    """Points of each piece of the line; there is a gap where a server did not answer."""
    processed: list[str]
    highest: float


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and what to do."""

    text: str
    action: str
    page: str | None = None
    """Where the action is possible; None: not in the console."""


class Overview:
    """The route."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    async def show(self, request: Request) -> Response:
        """Show the pipeline."""
        if not self._monitor.samples:
            await self._monitor.sample(None)
        samples = list(self._monitor.samples)
        now = samples[-1]
        accepted = rates([(sample.at, sample.accepted) for sample in samples])
        processed = rates([(sample.at, sample.processed) for sample in samples])
        resolved_rate = _average(processed)
        return render(
            request,
            "overview.html",
            now=now,
            accepted_rate=_average(accepted),
            resolved_rate=resolved_rate,
            chart=_draw(accepted, processed),
            chart_size=(CHART_WIDTH, CHART_HEIGHT),
            minutes=round((now.at - samples[0].at).total_seconds() / 60),
            highest_lag=max((p.lag for p in now.partitions or ()), default=0),
            problems=list(_find_problems(now, resolved_rate)),
        )


def _find_problems(now: Sample, resolved_rate: float | None) -> list[Problem]:
    problems = []
    if now.figures is None:
        problems.append(Problem("Postgres does not answer.", "Check the database."))
        return problems
    if now.partitions is None:
        problems.append(Problem("Kafka does not answer.", "Check the brokers."))
    if now.lag and now.lag > HIGH_LAG_SECONDS * max(resolved_rate or 0, 1):
        text = f"{now.lag:,} records wait for the resolvers."
        problems.append(Problem(text, "Check that they run; start more if they are busy."))
    if now.figures.oldest_seconds > OLD_ROW_SECONDS:
        text = f"A row waits for its profile for {now.figures.oldest_seconds / 60:.0f} minutes."
        problems.append(Problem(text, "Check that a scanner runs."))
    if now.figures.staleness > STALE_SECONDS:
        text = f"Properties are {now.figures.staleness:.0f} seconds behind the events."
        problems.append(Problem(text, "Check that a properties process runs."))
    if count := sum(now.figures.set_aside.values()):
        letters = now.figures.set_aside[Kind.RECORD]
        text = f"{count:,} items are set aside, {letters:,} of them dead letters."
        problems.append(Problem(text, "See the reasons.", "/dead-letters"))
    if now.figures.audit and now.figures.audit.disagreements:
        count = now.figures.audit.disagreements
        text = f"The last audit found {count:,} disagreement{'' if count == 1 else 's'}."
        problems.append(Problem(text, "See what it found.", "/operations/audits"))
    if now.figures.broken_rules:
        text = f"{now.figures.broken_rules} rules are broken."
        problems.append(Problem(text, "See why.", "/rules"))
    return problems


def _average(found: Sequence[float | None]) -> float | None:
    last = [rate for rate in found[-RATE_SAMPLES:] if rate is not None]
    return sum(last) / len(last) if last else None


def _draw(accepted: Sequence[float | None], processed: Sequence[float | None]) -> Chart:
    known = [rate for rate in (*accepted, *processed) if rate is not None]
    highest = max(known, default=0.0)
    scale = max(highest, _MIN_RATE)
    return Chart(_lines(accepted, scale), _lines(processed, scale), highest)


def _lines(found: Sequence[float | None], scale: float) -> list[str]:
    """Return the points of the pieces of a line, the last one at the right edge."""
    pieces: list[list[str]] = [[]]
    step = CHART_WIDTH / max(len(found) - 1, 1)
    for position, rate in enumerate(found):
        if rate is None:
            pieces.append([])
            continue
        y = CHART_HEIGHT - rate / scale * (CHART_HEIGHT - _TOP)
        pieces[-1].append(f"{position * step:.1f},{y:.1f}")
    return [" ".join(piece) for piece in pieces if len(piece) > 1]
