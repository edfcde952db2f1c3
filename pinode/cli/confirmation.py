"""What cannot be undone wants the name of it once more."""

import click

from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import printable


def confirm_name(invocation: Invocation, name: str, given: str | None, *, what: str, undone: str) -> None:
    """Ask for the name where somebody sits, unless it was `given`. Raises `Failure`: `undone`."""
    if given is None and invocation.may_ask:
        given = click.prompt(f"This {what} for good. Type its name to go on", err=True)
    if given != name:
        said = "" if given is None else f": {printable(given)!r} is not its name"
        raise Failure(f"{undone}{said}", hint=f"to do it: --confirm {name}", code=ExitCode.USAGE)
