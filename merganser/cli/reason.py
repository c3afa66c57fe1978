"""The option `--reason` of commands that an auditor may ask about."""

from typing import Annotated

import typer

from merganser.identity.unlink import MAX_REASON_CHARACTERS


def _check_reason(text: str) -> str:
    if not 0 < len(text.strip()) <= MAX_REASON_CHARACTERS:
        raise typer.BadParameter(f"say why, in at most {MAX_REASON_CHARACTERS:,} characters")
    return text.strip()


ReasonText = Annotated[
    str, typer.Option("--reason", callback=_check_reason, help="Why; it is stored with your name.")
]
