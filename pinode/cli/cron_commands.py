"""Commands about cron: what an app runs by the clock, and running it now."""

import re
import time
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, printable, say, show_json, table
from pinode.cli.target import app_option, app_path, chosen_app

LOOK_SECONDS = 0.5
NOT_SCHEDULED = {
    "suspended": "only by hand",
    "stopped": "app stopped",
    "waits_for_clock": "waits for the clock",
}


@click.command()
@app_option
@click.pass_obj
def cron(invocation: Invocation, app: str | None) -> int:
    """What the app runs by the clock, when it comes next and how it went last."""
    found = ApiClient(invocation).items(app_path(chosen_app(invocation, app), "cron"))
    if invocation.json:
        show_json({"items": found, "next": None})
        return ExitCode.OK
    rows = [
        (entry["name"], entry["in_words"], entry["command"], _next(entry), _last(entry)) for entry in found
    ]
    if rows:
        table(invocation, ("name", "when", "command", "next", "last"), rows)
    else:
        say("no cron: its entries stand in the app's app.json, and begin with the next deploy")
    return ExitCode.OK


@click.command()
@app_option
@click.argument("entry", metavar="ID")
@click.option("-d", "--detach", is_flag=True, help="do not wait for its end")
@click.pass_obj
def cron_run(invocation: Invocation, app: str | None, entry: str, detach: bool) -> int:
    """Run an entry of cron now; its exit code comes back. ID is as `pinode cron` shows it: cron.1, or 1."""
    name, number = chosen_app(invocation, app), _number(entry)
    client = ApiClient(invocation)
    run = client.post(app_path(name, "cron", str(number), "run"))
    say(f"-----> cron.{number} of {name} runs on {run['node']}; all it says: "
        f"pinode logs -p cron.{number} -a {name}")  # fmt: skip
    if not detach:
        run = _ended(client, name, number, run)
    if invocation.json:
        show_json(run)
    elif run["failure"]:
        say(printable(run["failure"]))
    if detach:
        return ExitCode.OK
    return int(run["exit_code"]) if run["exit_code"] is not None else ExitCode.FAILED


def _ended(client: ApiClient, app: str, number: int, run: dict[str, Any]) -> dict[str, Any]:
    """The run at its end. It has another number where it had to move before it began."""
    while run["state"] != "ended":
        time.sleep(LOOK_SECONDS)
        entries = client.items(app_path(app, "cron"))
        runs = [one for entry in entries if entry["id"] == number for one in entry["runs"]]
        same = [one for one in runs if one["number"] == run["number"]]
        moved = [one for one in runs if one["number"] > run["number"] and one["asked_by"] == run["asked_by"]]
        if not same and not moved:
            raise Failure(f"cron.{number} of {app} is not there any more", code=ExitCode.NOT_FOUND)
        run = (same or moved[-1:])[0]
    return run


def _number(entry: str) -> int:
    if not re.fullmatch(r"(cron\.)?[0-9]{1,4}", entry):
        raise Failure(f"{entry!r} is no entry of cron", hint="for example: cron.1", code=ExitCode.USAGE)
    return int(entry.removeprefix("cron."))


def _next(entry: dict[str, Any]) -> str:
    if entry["state"] != "scheduled":
        return NOT_SCHEDULED[entry["state"]]
    return f"in {ago(entry['next_run_in_seconds'])}" if entry["next_run_at"] else "never"


def _last(entry: dict[str, Any]) -> str:
    if not entry["runs"]:
        return ""
    run = entry["runs"][0]
    skipped = f", {run['skipped']} skipped" if run["skipped"] else ""
    if run["state"] != "ended":
        return f"{run['state']} on {run['node']} for {ago(run['age_seconds'])}{skipped}"
    how = run["failure"].rstrip(".") if run["failure"] else f"ended well in {ago(run['duration_seconds'])}"
    return f"{how}, {ago(run['age_seconds'])} ago{skipped}"
