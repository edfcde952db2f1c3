"""`pinode queue…`: what a person sees of the queue and does to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from replicated_queue.queue.commands import Bury, Nack, Reserve
from tests.pinode.cli_stage import CliStage, cli_stage


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        yield stage


def put(node: CliStage, data: bytes = b"hello", *, topic: str = "mail") -> int:
    return node.do(lambda cluster: cluster.put_job(topic, data))


def bury(node: CliStage, *, topic: str = "mail") -> None:
    taken = node.do(lambda cluster: cluster.do_on_queue(Reserve((topic,), "w1")))
    node.do(lambda cluster: cluster.do_on_queue(Bury(taken.job_ids[0], taken.token, "no such host")))


def test_topics_are_a_table_and_what_is_set_for_them_is_said(node: CliStage) -> None:
    put(node)
    node.run("queue:set", "mail", "--max-jobs", "5", "--drain")

    ran = node.run("queue")

    assert ran.code == 0
    assert ran.out.splitlines()[1].split() == ["mail", "1", "0", "0", "0"]
    assert "mail: takes no new jobs (draining)" in ran.err
    assert "mail: holds at most 5 jobs" in ran.err


def test_the_jobs_of_a_topic_are_listed_with_why_they_failed(node: CliStage) -> None:
    put(node, b"first")
    put(node, b"second\x1b[31m")
    bury(node)

    ran = node.run("queue", "list", "mail")
    buried = node.run("queue:list", "mail", "--state", "buried", "--json").document

    assert ran.code == 0
    assert "no such host" in ran.out and "first" in ran.out
    assert "\x1b" not in ran.out
    assert [job["data"] for job in buried["items"]] == ["first"]


def test_one_job_is_shown_with_all_that_is_known_of_it(node: CliStage) -> None:
    job_id = put(node)
    taken = node.do(lambda cluster: cluster.do_on_queue(Reserve(("mail",), "w1")))
    node.do(lambda cluster: cluster.do_on_queue(Nack(job_id, taken.token, 60_000, "disk full")))

    ran = node.run("queue:info", str(job_id))

    assert ran.code == 0
    for said in ("delayed", "1 of 5", "w1", "attempt 1: disk full", "hello"):
        assert said in ran.out


def test_a_job_that_is_not_there_is_told_by_exit_code_3(node: CliStage) -> None:
    assert node.run("queue:info", "77").code == 3
    assert node.run("queue:cancel", "77").code == 3


def test_a_job_is_cancelled_and_one_that_is_held_only_by_force(node: CliStage) -> None:
    first, second = put(node), put(node)
    node.do(lambda cluster: cluster.do_on_queue(Reserve(("mail",), "w1")))

    held = node.run("queue:cancel", str(first))
    forced = node.run("queue:cancel", str(first), "--force")
    free = node.run("queue:cancel", str(second))

    assert (held.code, forced.code, free.code) == (5, 0, 0)
    assert node.run("queue:list", "mail", "--json").document["items"] == []


def test_buried_jobs_are_kicked(node: CliStage) -> None:
    for _ in range(3):
        put(node)
        bury(node)

    some = node.run("queue:kick", "mail", "--bound", "1")
    rest = node.run("queue:kick", "mail", "--json")

    assert "kicked 1 job of mail" in some.err
    assert rest.document == {"kicked": 2}


def test_a_topic_is_paused_for_an_hour_unless_said_otherwise(node: CliStage) -> None:
    put(node)

    paused = node.run("queue:pause", "mail", "--json").document
    longer = node.run("queue:pause", "mail", "--for", "2d")
    ended = node.run("queue:pause", "mail", "--for", "0", "--json").document

    assert 3_599 < paused["paused_seconds"] <= 3_600
    assert "paused for 2 d" in longer.err
    assert ended["paused_seconds"] == 0


def test_a_topic_whose_name_has_a_slash_is_reached(node: CliStage) -> None:
    put(node, topic="mail/out")

    assert len(node.run("queue:list", "mail/out", "--json").document["items"]) == 1


@pytest.mark.parametrize(
    "words",
    [
        ("queue:pause", "mail", "--for", "soon"),
        ("queue:set", "mail"),
        ("queue:set", "mail", "--max-jobs", "-1"),
        ("queue:info", "x"),
        ("queue:list", "mail", "--state", "lost"),
        ("queue:list",),
        ("queue:kick", "mail", "--bound", "0"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(node: CliStage, words: tuple[str, ...]) -> None:
    ran = node.run(*words)

    assert ran.code == 2
    assert ran.err
