"""`merganser explain`: which profile does an id lead to, and why?"""

import json
from typing import Annotated, Any

import typer
from rich.markup import escape

from merganser.admin import explain as admin
from merganser.cli.terminal import out, run
from merganser.identity.explain import Explanation
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
        data = [_to_json(explanation) for explanation in explanations]
        typer.echo(json.dumps(data, default=str))  # times become text
        return
    for explanation in explanations:
        _show(explanation)


def _to_json(explanation: Explanation) -> dict[str, Any]:
    """Return what `--json` prints. The keys are part of the interface: do not rename them."""
    return {
        "id": explanation.id,
        "kind": explanation.kind,
        "because": explanation.text,
        "profile": explanation.profile,
        "user_id": explanation.user_id,
        "events": explanation.events,
        "visitors": [
            {
                "anonymous_id": known.anonymous_id,
                "profile": known.profile,
                "owner": known.owner,
                "link_event": known.link_event,
                "linked_at": known.linked_at,
            }
            for known in explanation.anonymous_ids
        ],
        "merges": [
            {
                "reason": merge.reason,
                "anonymous_id": merge.anonymous_id,
                "loser": merge.loser,
                "survivor": merge.survivor,
                "link_event": merge.link_event,
                "at": merge.merged_at,
            }
            for merge in explanation.merges
        ],
        "refused": [
            {
                "event": link.event,
                "anonymous_id": link.anonymous_id,
                "user_id": link.user_id,
                "owner": link.owner,
            }
            for link in explanation.refused_links
        ],
        "moving": [(move.anonymous_id, move.loser) for move in explanation.pending_moves],
    }


def _show(explanation: Explanation) -> None:
    subject = escape(f"{explanation.kind} {explanation.id}")
    out.print(f"[bold]{subject}[/]: {escape(explanation.text)}.", highlight=False)
    if explanation.profile is None:
        return
    owner = "no known user" if explanation.user_id is None else f"user {explanation.user_id}"
    count = f"profile {explanation.profile} of {owner}, {explanation.events:,} events"
    for line in [count, *admin.describe_identity(explanation)]:
        out.print(f"  {line}", highlight=False, markup=False)
