"""`merganser explain`: which profile does an id lead to, and why?"""

import dataclasses
import json
from typing import Annotated

import typer
from rich.markup import escape

from merganser.admin import explain as admin
from merganser.cli.terminal import out, run
from merganser.identity.explain import Explanation, Merge
from merganser.runtime.settings import Settings

app = typer.Typer()


@app.command()
def explain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The guid of an event or a profile, a userId or an anonymousId."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show which profile an id leads to, and why."""
    explanations = run(admin.explain_id(Settings.read(), name))
    if as_json:
        data = [dataclasses.asdict(explanation) for explanation in explanations]
        typer.echo(json.dumps(data, default=str))
        return
    for explanation in explanations:
        _show(explanation)


def _show(explanation: Explanation) -> None:
    subject = escape(f"{explanation.kind} {explanation.id}")
    out.print(f"[bold]{subject}[/]: {escape(explanation.because)}.", highlight=False)
    if explanation.profile is None:
        return
    owner = "no known user" if explanation.user_id is None else f"user {explanation.user_id}"
    lines = [f"profile {explanation.profile} of {owner}, {explanation.events:,} events"]
    for visitor in explanation.visitors:
        link = f", linked by {visitor.link_event}" if visitor.link_event else ", not linked"
        lines.append(f"has anonymousId {visitor.anonymous_id}{link}")
    lines += [f"{merge.at:%Y-%m-%d %H:%M:%S} {_sentence(merge)}" for merge in explanation.merges]
    lines += [
        f"refused: {refused.event} links {refused.anonymous_id} to user {refused.user_id}, "
        f"but it belongs to user {refused.owner}"
        for refused in explanation.refused
    ]
    lines += [
        f"a move of events of {anonymous_id} from {profile} is in progress"
        for anonymous_id, profile in explanation.moving
    ]
    for line in lines:
        out.print(f"  {line}", highlight=False, markup=False)


def _sentence(merge: Merge) -> str:
    match merge.reason:
        case "claimed":
            what = f"the anonymous profile of {merge.anonymous_id} became this user's"
        case "merged":
            what = f"{merge.loser}, the anonymous profile of {merge.anonymous_id}, merged into it"
        case _:
            what = (
                f"the events of {merge.anonymous_id} moved from {merge.loser} to {merge.survivor}"
            )
    return f"{what}, by link {merge.link_event}"
