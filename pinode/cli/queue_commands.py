"""Commands about the queue: its topics, their jobs, and what a person does to them."""

import urllib.parse
from typing import Any

import click

from pinode.cli.api_client import ApiClient
from pinode.cli.invocation import ExitCode, Failure, Invocation
from pinode.cli.output import ago, printable, say, show_json, table
from pinode.cli.span import span
from pinode.cli.status_commands import show_topics

TOPICS, JOBS = "/api/v1/queue/topics", "/api/v1/queue/jobs"
ALL_BURIED = 10_000  # no queue keeps more
SHOWN_CHARACTERS = 40  # of a job's data, in a table
STATES = ("ready", "delayed", "leased", "buried", "succeeded", "cancelled")


@click.command()
@click.pass_obj
def queue(invocation: Invocation) -> int:
    """The topics and how many jobs each has."""
    found = ApiClient(invocation).items(TOPICS)
    if invocation.json:
        show_json({"items": found, "next": None})
    elif found:
        show_topics(invocation, found)
        for topic in found:
            for remark in _remarks(topic):
                say(f"{printable(topic['name'])}: {remark}")
    else:
        say("no topics yet: the first put makes one")
    return ExitCode.OK


@click.command("queue:list")
@click.argument("topic")
@click.option("--state", type=click.Choice(STATES), help="only these; ended ones are shown only so")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="how many at most (100)")
@click.pass_obj
def queue_list(invocation: Invocation, topic: str, state: str | None, limit: int) -> int:
    """The jobs of a topic, the oldest first."""
    page = ApiClient(invocation).get(_topic(topic, "jobs"), state=state, limit=limit)
    if invocation.json:
        show_json(page)
        return ExitCode.OK
    if not page["items"]:
        say(f"no {state or 'open'} jobs in {printable(topic)}")
        return ExitCode.OK
    heads = ("job", "state", "priority", "attempts", "age", "worker", "needs", "reason", "data")
    table(invocation, heads, [_row(job) for job in page["items"]])
    if page["next"]:
        say(f"and more: --limit {min(10 * limit, 1000)}")
    return ExitCode.OK


@click.command("queue:info")
@click.argument("job", type=click.IntRange(0))
@click.pass_obj
def queue_info(invocation: Invocation, job: int) -> int:
    """One job, also one that ended lately."""
    found = ApiClient(invocation).get(f"{JOBS}/{job}")
    if invocation.json:
        show_json(found)
        return ExitCode.OK
    rows = [
        ("topic", found["topic"]),
        ("state", found["state"]),
        ("priority", found["priority"]),
        ("attempts", f"{found['attempts']} of {found['max_attempts'] or 'any number'}"),
        ("age", ago(found["age_seconds"])),
        ("worker", found["worker"]),
        ("needs", " ".join(found["needs"])),
        *(("failed", reason) for reason in found["reasons"]),
        ("data", _text(found, "data")),
        ("result", _text(found, "result")),
    ]
    for name, value in rows:
        if value not in (None, ""):
            click.echo(f"{name:9} {printable(str(value))}")
    return ExitCode.OK


@click.command("queue:cancel")
@click.argument("job", type=click.IntRange(0))
@click.option("--force", is_flag=True, help="also one that a worker holds; its ack will be refused")
@click.pass_obj
def queue_cancel(invocation: Invocation, job: int, force: bool) -> int:
    """Remove a job that nobody holds."""
    ApiClient(invocation).request("DELETE", f"{JOBS}/{job}", query={"force": 1} if force else {})
    say(f"cancelled job {job}")
    return ExitCode.OK


@click.command("queue:kick")
@click.argument("topic")
@click.option("--bound", type=click.IntRange(1, 2**32 - 1), default=ALL_BURIED, help="how many (all)")
@click.pass_obj
def queue_kick(invocation: Invocation, topic: str, bound: int) -> int:
    """Give the buried jobs of a topic all their attempts again; if none is buried, wake delayed ones."""
    answer = ApiClient(invocation).post(_topic(topic, "kick"), {"bound": bound})
    if invocation.json:
        show_json(answer)
    else:
        say(f"kicked {_jobs(answer['kicked'])} of {printable(topic)}")
    return ExitCode.OK


@click.command("queue:pause")
@click.argument("topic")
@click.option("--for", "seconds", type=span, default="1h", metavar="SPAN", help="90, 5m, 2d (1h); 0 ends it")
@click.pass_obj
def queue_pause(invocation: Invocation, topic: str, seconds: int) -> int:
    """Let a topic give out no jobs for a while; puts go on."""
    answer = ApiClient(invocation).post(_topic(topic, "pause"), {"seconds": seconds})
    if invocation.json:
        show_json(answer)
    elif seconds:
        name = printable(topic)
        say(f"{name} is paused for {ago(seconds)}; to end it: pinode queue:pause {name} --for 0")
    else:
        say(f"{printable(topic)} gives out jobs again")
    return ExitCode.OK


@click.command("queue:set")
@click.argument("topic")
@click.option("--max-jobs", type=click.IntRange(0), metavar="N", help="jobs it may hold; 0: no bound")
@click.option("--max-bytes", type=click.IntRange(0), metavar="N", help="bytes it may hold; 0: no bound")
@click.option("--ageing", type=span, metavar="SPAN", help="what a priority counts as waiting; 0: off")
@click.option("--drain/--no-drain", default=None, help="take no new jobs, or take them again")
@click.pass_obj
def queue_set(
    invocation: Invocation,
    topic: str,
    max_jobs: int | None,
    max_bytes: int | None,
    ageing: int | None,
    drain: bool | None,
) -> int:
    """Give a topic bounds of its own, let its jobs age, or drain it."""
    wishes = {"max_jobs": max_jobs, "max_bytes": max_bytes, "ageing_seconds": ageing, "draining": drain}
    named = {name: wish for name, wish in wishes.items() if wish is not None}
    if not named:
        flags = "--max-jobs, --max-bytes, --ageing, --drain"
        raise Failure("what is to be set?", hint=flags, code=ExitCode.USAGE)
    answer = ApiClient(invocation).post(TOPICS, {"name": topic, **named})
    if invocation.json:
        show_json(answer)
    else:
        say(f"{printable(topic)}: {'; '.join(_remarks(answer)) or 'nothing is set any more'}")
    return ExitCode.OK


def _topic(topic: str, verb: str) -> str:
    return f"{TOPICS}/{urllib.parse.quote(topic, safe='')}/{verb}"


def _remarks(topic: dict[str, Any]) -> list[str]:
    """What is out of the ordinary with a topic, in words."""
    remarks = []
    if topic["draining"]:
        remarks.append("takes no new jobs (draining)")
    if topic["paused_seconds"]:
        remarks.append(f"gives out no jobs for {ago(topic['paused_seconds'])} (paused)")
    if topic["max_jobs"]:
        remarks.append(f"holds at most {_jobs(topic['max_jobs'])}")
    if topic["max_bytes"]:
        remarks.append(f"holds at most {topic['max_bytes']} bytes")
    if topic["ageing_seconds"]:
        remarks.append(f"a priority counts as {ago(topic['ageing_seconds'])} of waiting")
    return remarks


def _row(job: dict[str, Any]) -> tuple[object, ...]:
    return (
        job["id"],
        job["state"],
        job["priority"],
        job["attempts"],
        ago(job["age_seconds"]),
        job["worker"],
        " ".join(job["needs"]),
        job["reasons"][-1] if job["reasons"] else "",
        _text(job, "data")[:SHOWN_CHARACTERS],
    )


def _text(job: dict[str, Any], name: str) -> str:
    """Data or result as it can be shown."""
    return str(job.get(name) or (f"base64 {job[f'{name}_base64']}" if f"{name}_base64" in job else ""))


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
