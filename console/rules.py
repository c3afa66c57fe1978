"""The pages of rules: those in force, and an editor that previews new ones, then applies them."""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice

from psycopg.errors import QueryCanceled
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.access import viewer_of
from console.forms import read_form
from console.ids import can_be_id
from console.pages import render
from merganser.admin import rule_preview, rules
from merganser.admin.errors import AdminError
from merganser.admin.rule_preview import Change, ProfilePreview, SampleComparison
from merganser.admin.rule_status import (
    Coverage,
    describe_origin,
    describe_state,
    describe_type,
    measure_coverage,
    read_status,
)
from merganser.http.authentication import Permission
from merganser.http.errors import HttpError
from merganser.queries.parameters import MAX_ID_LENGTH
from merganser.queries.pool import Pool
from merganser.rulebook import rule_file, rule_store
from merganser.rulebook.language import Rule, RuleFile
from merganser.rulebook.rule_file import Mistake, RuleFileError
from merganser.rulebook.rule_store import Broken, RuleChanges

MAX_FORM_BYTES = 3 * rule_file.MAX_BYTES + 8192
"""A form has up to three bytes for one of the text."""

MAX_PREVIEWS = 2
"""Previews at once; further ones wait."""

MAX_DIFFERENCES = 100
"""Rules whose difference is shown."""

MAX_LINES = 200
"""Lines of one rule that are shown."""

READS = (Permission.READ_PROFILES, Permission.READ_EVENTS)
"""What a preview shows: any rule can turn the data of events into a property."""


@dataclass(frozen=True, slots=True)
class Draft:
    """New rules, as the editor has them."""

    text: str
    version: str
    """Of the rules in force."""
    profile: str = ""
    """An id of the profile to preview."""
    file: RuleFile | None = None
    """None: the text has mistakes."""
    mistakes: Sequence[Mistake] = ()
    changes: RuleChanges | None = None
    """What applying them changes."""
    is_outdated: bool = False
    """Whether other rules were applied since the editor was opened."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What applying the rules does to one of them."""

    key: str
    change: Change
    lines: list[str]
    """Each starts with `+`, `-` or a space."""


class Rules:
    """The routes.

    Args:
        pool: of connections to Postgres.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        # A text takes up to 3 seconds to read.
        self._reading = asyncio.Semaphore(1)
        self._previews = asyncio.Semaphore(MAX_PREVIEWS)

    async def show(self, request: Request) -> Response:
        """Show the rules in force."""
        async with self._pool.reading() as connection:
            in_force = await read_status(connection, datetime.now(UTC))
            sources = await rule_store.read_sources(connection)
        return render(
            request,
            "rules.html",
            in_force=in_force,
            sources=sources,
            coverage=await self._measure_coverage([stored.rule.key for stored in in_force.rules]),
            describe_type=describe_type,
            describe_origin=describe_origin,
            describe_state=describe_state,
        )

    async def edit(self, request: Request) -> Response:
        """Show the editor with the rules in force."""
        async with self._pool.reading() as connection:
            stored = await rule_store.read_all_rules(connection)
            sources = await rule_store.read_sources(connection)
            version = await rule_store.read_version(connection)
        in_force = [entry.rule for entry in stored.rules]
        async with self._reading:
            text = await asyncio.to_thread(rule_file.dump, in_force, sources)
        draft = Draft(text, version, request.query_params.get("profile", ""))
        return _show(request, draft, broken=stored.broken)

    async def check(self, request: Request) -> Response:
        """Say what is wrong in the rules of the editor, or what they change."""
        return _show(request, await self._read_draft(request))

    async def preview(self, request: Request) -> Response:
        """Show what the rules of the editor give, for one profile and for a sample."""
        draft = await self._read_draft(request)
        if draft.file is None or draft.changes is None:
            return _show(request, draft, 422)
        missing = [name for name in READS if name not in viewer_of(request).permissions]
        async with self._reading:
            differences = await asyncio.to_thread(_find_differences, draft.changes)
        if missing:
            return _show(request, draft, differences=differences, missing=missing)
        async with self._previews:
            sample = await self._compare_sample(draft.file, draft.changes)
            profile = await self._preview_profile(draft.file, draft.changes, draft.profile)
        return _show(request, draft, differences=differences, profile=profile, sample=sample)

    async def apply(self, request: Request) -> Response:
        """Apply the rules of the editor, unless other rules were applied since it was opened."""
        draft = await self._read_draft(request)
        if draft.file is None or not draft.changes or draft.is_outdated:
            return _show(request, draft, 409 if draft.is_outdated else 422)
        try:
            async with self._pool.writing() as connection:
                await rules.replace_rules(
                    connection,
                    viewer_of(request).actor,
                    draft.file,
                    version=draft.version,
                    may_change_sources=False,
                )
        except AdminError as error:
            return _show(request, draft, 409, problem=str(error))
        return RedirectResponse("/rules?done=applied", 303)

    async def _read_draft(self, request: Request) -> Draft:
        """Return what a form of the editor has, compared with the rules in force."""
        form = await read_form(request, MAX_FORM_BYTES)
        text = form.get("text", "").replace("\r\n", "\n")
        draft = Draft(text, form.get("version", ""), form.get("profile", "").strip())
        try:
            async with self._reading:
                file = await asyncio.to_thread(rule_file.parse, text)
        except RuleFileError as error:
            draft = replace(draft, mistakes=error.mistakes)
        else:
            draft = replace(draft, file=file)
        async with self._pool.reading() as connection:
            version = await rule_store.read_version(connection)
            changes = None
            if draft.file is not None:
                changes = await rule_store.compare_with_file(connection, draft.file)
        return replace(
            draft, version=version, is_outdated=version != draft.version, changes=changes
        )

    async def _measure_coverage(self, keys: Sequence[str]) -> Coverage | None:
        """Return how many profiles have values; None if that takes too long."""
        try:
            async with self._pool.reading() as connection:
                return await measure_coverage(connection, keys)
        except QueryCanceled:
            return None

    async def _compare_sample(self, file: RuleFile, changes: RuleChanges) -> SampleComparison | str:
        """Return how a sample changes, or why that is unknown."""
        try:
            async with self._pool.reading() as connection:
                return await rule_preview.compare_sample(
                    connection, file, changes, datetime.now(UTC)
                )
        except QueryCanceled:
            return "Reading the profiles takes too long."
        except (AdminError, HttpError) as error:
            return str(error)

    async def _preview_profile(
        self, file: RuleFile, changes: RuleChanges, any_id: str
    ) -> ProfilePreview | str | None:
        """Return how one profile changes, or why that is unknown; None without an id."""
        if not any_id:
            return None
        if not can_be_id(any_id):
            return f"An id has at most {MAX_ID_LENGTH} characters, none of them NUL."
        try:
            async with self._pool.reading() as connection:
                return await rule_preview.preview_profile(
                    connection, file, changes, any_id, datetime.now(UTC)
                )
        except QueryCanceled:
            return "Reading the events of this profile takes too long."
        except (AdminError, HttpError) as error:
            return str(error)


def _show(
    request: Request,
    draft: Draft,
    status: int = 200,
    *,
    differences: Sequence[Difference] | None = None,
    broken: Sequence[Broken] = (),
    problem: str | None = None,
    missing: Sequence[str] = (),
    profile: ProfilePreview | str | None = None,
    sample: SampleComparison | str | None = None,
) -> Response:
    """Return the editor.

    Args:
        request: of the page.
        draft: the text, and what was found about it.
        status: of HTTP.
        differences: of each rule, if the page also shows what the rules give.
        broken: rules in force that the text cannot have.
        problem: why the rules were not applied.
        missing: permissions that the viewer needs for a preview.
        profile: the preview of one profile, or why there is none.
        sample: the preview of many, or why there is none.
    """
    lines = draft.text.split("\n")
    return render(
        request,
        "rules_edit.html",
        status,
        draft=draft,
        mistakes=[
            (mistake, lines[mistake.line - 1] if mistake.line <= len(lines) else "")
            for mistake in draft.mistakes
        ],
        differences=differences or [],
        counts=_count_changes(draft.changes) if draft.changes else "",
        max_differences=MAX_DIFFERENCES,
        step="edit" if differences is None else "preview",
        broken=broken,
        problem=problem,
        missing=missing,
        profile=profile,
        sample=sample,
    )


def _count_changes(changes: RuleChanges) -> str:
    """Return how many rules change, in words."""
    counts = {
        "add": len(changes.added),
        "change": len(changes.changed) + len(changes.repaired),
        "remove": len(changes.removed) + len(changes.removed_broken),
    }
    return ", ".join(f"{verb} {count:,}" for verb, count in counts.items() if count)


def _find_differences(changes: RuleChanges) -> list[Difference]:
    """Return the difference of each rule that changes, up to one more than `MAX_DIFFERENCES`."""
    found = chain(
        (Difference(rule.key, "added", _mark("+", _lines(rule))) for rule in changes.added),
        (
            Difference(after.key, "changed", _diff(_lines(before), _lines(after)))
            for before, after in changes.changed
        ),
        (Difference(rule.key, "changed", _mark("+", _lines(rule))) for rule in changes.repaired),
        (Difference(rule.key, "removed", _mark("-", _lines(rule))) for rule in changes.removed),
        (Difference(key, "removed", []) for key in changes.removed_broken),
    )
    return list(islice(found, MAX_DIFFERENCES + 1))


def _lines(rule: Rule) -> list[str]:
    """Return a rule as a file has it, without the list around it."""
    return [line[4:] for line in rule_file.dump([rule]).splitlines()[1:]]


def _mark(sign: str, lines: Sequence[str]) -> list[str]:
    more = [f"  and {len(lines) - MAX_LINES:,} more lines"] if len(lines) > MAX_LINES else []
    return [f"{sign} {line}" for line in lines[:MAX_LINES]] + more


def _diff(before: Sequence[str], after: Sequence[str]) -> list[str]:
    if max(len(before), len(after)) > MAX_LINES:  # comparing would take long
        return _mark("-", before) + _mark("+", after)
    with_header = difflib.unified_diff(before, after, n=MAX_LINES, lineterm="")
    return [f"{line[0]} {line[1:]}" for line in islice(with_header, 3, None)]
