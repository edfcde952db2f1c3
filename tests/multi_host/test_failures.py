"""Whole nodes that die: builds end once, apps come back, acknowledged jobs stay. Real processes, SIGKILL."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pinode.cli.build_commands import wait_for_release
from pinode.cli.demo_source import served
from pinode.cli.target import app_path
from replicated_queue import QueueClient
from replicated_queue.errors import OutcomeUnknown
from replicated_queue.queue.job import Job
from tests.multi_host.three_nodes import FLASK_APP, PASSWORD, TINY_APP, Nodes, make_repository, running_nodes

pytestmark = pytest.mark.multi_host


@pytest.fixture
def repositories(tmp_path: Path):
    make_repository(tmp_path / "tiny", TINY_APP)
    make_repository(tmp_path / "flask", FLASK_APP)
    with served(tmp_path) as base:
        yield base


@pytest.fixture
def nodes():
    with running_nodes() as running:
        yield running


def test_the_leader_is_killed_during_a_build_and_one_release_comes_of_it(
    nodes: Nodes, repositories: str
) -> None:
    nodes.create("blog", f"{repositories}/flask")
    build = nodes.request_build("blog")
    nodes.until(
        lambda: nodes.alive[0].client().get(app_path("blog", "builds", str(build)))["state"] == "building",
        seconds=20, what="the build has begun",
    )  # fmt: skip

    nodes.kill(nodes.leader())
    done = wait_for_release(nodes.alive[0].client(), "blog", build, within_seconds=180)

    releases = nodes.alive[0].client().get(app_path("blog", "releases"))["items"]
    assert [release["version"] for release in releases] == [1]
    assert done["version"] == 1
    for node in nodes.alive:
        nodes.until(
            lambda node=node: nodes.get("blog", node)[0] == 200, seconds=20, what=f"answer on {node.name}"
        )


def test_the_node_of_the_only_dyno_is_killed_and_the_others_answer_within_20_seconds(
    nodes: Nodes, repositories: str
) -> None:
    nodes.deploy("shop", f"{repositories}/tiny")
    victim = nodes.named(nodes.dynos("shop")[0]["node"])

    nodes.kill(victim)
    killed_at = time.monotonic()

    def moved() -> bool:
        answers = [nodes.get("shop", node) for node in nodes.alive]
        return all(status == 200 and victim.name not in body for status, body in answers)

    nodes.until(moved, seconds=20, what="the app answers from another node, through both others")
    assert time.monotonic() - killed_at < 20
    for node in nodes.alive:
        asked_at = time.monotonic()
        status = nodes.status(node)
        assert time.monotonic() - asked_at < 1
        assert {entry["name"]: entry["state"] for entry in status["nodes"]}[victim.name] == "dead"


def test_a_killed_node_comes_back_and_one_dyno_remains(nodes: Nodes, repositories: str) -> None:
    nodes.deploy("shop", f"{repositories}/tiny")
    victim = nodes.named(nodes.dynos("shop")[0]["node"])
    nodes.kill(victim)
    nodes.until(
        lambda: [dyno["node"] for dyno in nodes.dynos("shop") if dyno["state"] == "up"] not in ([], [victim.name]),
        seconds=25, what="the dyno moved",
    )  # fmt: skip

    victim.start()

    nodes.until(lambda: nodes.get("shop", victim)[0] == 200, seconds=30, what="the returned node routes")
    nodes.until(
        lambda: len(_processes_of(nodes, "app.py")) == 1, seconds=30, what="one process of the app remains"
    )


def _processes_of(nodes: Nodes, word: str) -> list[int]:
    """Pids of dynos (the innermost processes) of our nodes, by their command and their port range."""
    found = []
    ports = [(node.dyno_ports[0], node.dyno_ports[1]) for node in nodes.nodes]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        port = next(
            (int(item[5:]) for item in environment if item.startswith(b"PORT=") and item[5:].isdigit()), 0
        )
        if command[-2:-1] == [word.encode()] and any(first <= port <= last for first, last in ports):
            found.append(int(entry.name))
    return found


async def test_2000_jobs_put_while_leaders_die_are_there_exactly_once_and_in_order(
    nodes: Nodes, tmp_path: Path
) -> None:
    """32 clients through all nodes; two leaders are killed meanwhile, all three nodes at the end."""
    jobs_in_all, clients = 2000, 32
    acknowledged: list[str] = []
    unknown: set[str] = set()
    (tmp_path / "ca.pem").write_text("\n".join(nodes.nodes[0].client().lines("/ca.pem")))
    login = {"username": "admin", "password": PASSWORD}
    token = nodes.nodes[0].client().post("/api/v1/sessions", login)["token"]
    places = [f"{node.host}:{node.ports['peer']}" for node in nodes.nodes]

    async def put_all(number: int) -> None:
        servers = places[number % 3 :] + places[: number % 3]
        async with QueueClient(servers, token=token, ca=str(tmp_path / "ca.pem"), timeout=60) as queue:
            for serial in range(number, jobs_in_all, clients):
                data = f"put-{serial}"
                try:
                    await queue.put("mail", data.encode(), priority=serial % 4)
                    acknowledged.append(data)
                except OutcomeUnknown:
                    unknown.add(data)

    async def kill_leaders() -> None:
        for share in (1, 2):
            await asyncio.to_thread(
                nodes.until,
                lambda share=share: len(acknowledged) > share * jobs_in_all / 4,
                seconds=60,
                what="puts go on",
            )
            victim = await asyncio.to_thread(nodes.leader)
            await asyncio.to_thread(nodes.kill, victim)
            victim.start()
            await asyncio.to_thread(nodes.leader)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(kill_leaders())
        for number in range(clients):
            tasks.create_task(put_all(number))
    for node in nodes.nodes:
        nodes.kill(node)
    for node in nodes.nodes:
        node.start()
    await asyncio.to_thread(nodes.leader)
    async with QueueClient(places, token=token, ca=str(tmp_path / "ca.pem"), timeout=60) as queue:
        taken = [job async for job in _drained(queue)]

    found = Counter(job.data.decode() for job in taken)
    assert len(acknowledged) + len(unknown) == jobs_in_all
    assert set(found.values()) == {1}
    assert set(acknowledged) <= set(found) <= set(acknowledged) | unknown
    order = [(job.priority, job.id) for job in taken]
    assert order == sorted(order)


async def _drained(queue: QueueClient) -> AsyncIterator[Job]:
    while jobs := await queue.reserve_many("mail", 50, wait=0, worker="test"):
        await queue.ack_many(jobs)
        for job in jobs:
            yield job
