"""`pinode run`: a command of one's own in the app's sandbox; its exit code is the command's."""

import json
import shlex
import sys

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import say, show_json
from pinode.cli.target import app_option, app_path, chosen_app

QUIET_SECONDS = 24 * 3600.0


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@app_option
@click.option("-d", "--detach", is_flag=True, help="do not wait for it; its output goes to the app's log")
@click.argument("command", nargs=-1, required=True, metavar="CMD …", type=click.UNPROCESSED)
@click.pass_obj
def run(invocation: Invocation, app: str | None, detach: bool, command: tuple[str, ...]) -> int:
    """Run a command in a one-off dyno of the live release; its exit code comes back.

    One word is given to the sandbox's shell as it is ('a | b'), several are its words. It gets no input.
    """
    name = chosen_app(invocation, app)
    text = command[0] if len(command) == 1 else shlex.join(command)
    client = ApiClient(invocation)
    dyno = ""
    for line in client.post_lines(
        app_path(name, "run"), {"command": text, "detach": detach}, quiet_seconds=QUIET_SECONDS
    ):
        part = json.loads(line)
        if "name" in part:
            dyno = part["name"]
        elif "output" in part:
            sys.stdout.write(part["output"])
            sys.stdout.flush()
        elif "exit_code" in part:
            return int(part["exit_code"])
    if not detach:
        raise Failure("the node ended before the command did", hint="what it did until then is done")
    if invocation.json:
        show_json({"name": dyno})
    else:
        click.echo(dyno)
        say(f"its output: pinode logs -a {name} -p {dyno}")
    return ExitCode.OK
