"""Leadership that goes to another node because a person says so."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pinode.operations.step_down import METHOD, serve_step_downs
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.pinode.fake_cluster import FakeCluster
from tests.pinode.web_stage import Stage, stage

PATH = "/api/v1/leader/step-down"


@pytest.fixture
async def web() -> AsyncIterator[Stage]:
    async with stage("ada", "bob") as made:
        yield made


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as made:
        hands_over(made.cluster, to="pi2")
        yield made


def hands_over(cluster: FakeCluster, *, to: str | None) -> list[str]:
    """Let the leader obey; every node that was asked is in the list. To None: nobody is heard of yet."""
    asked: list[str] = []

    async def hand_over() -> None:
        asked.append(str(cluster.leader_id))
        cluster.leader_id = next((view.node_id for view in cluster.views.values() if view.name == to), None)

    serve_step_downs(cluster, hand_over)
    return asked


async def test_the_leader_hands_over_whichever_node_is_asked(web: Stage) -> None:
    first, second, _ = web.cluster.views
    asked = hands_over(web.cluster, to="pi2")

    answer = await web.api("POST", PATH, by="ada")

    assert (answer.status, answer.json()) == (200, {"was": "pi1", "leader": "pi2"})
    assert (asked, web.cluster.leader_id) == ([first], second)


async def test_a_node_that_leads_no_more_when_it_is_asked_hands_nothing_over(web: Stage) -> None:
    asked = hands_over(web.cluster, to="pi1")
    web.cluster.leader_id = list(web.cluster.views)[1]  # this node answers for it, and does not lead

    await web.cluster.peers.call(web.cluster.node_id, METHOD, b"", timeout_seconds=1)

    assert asked == []


@pytest.mark.parametrize(
    ("others", "why"),
    [({"state": "dead"}, "no other voter is in reach"), ({"counts_as": "learner"}, "the only voter")],
)
async def test_who_has_no_successor_is_not_asked(web: Stage, others: dict[str, str], why: str) -> None:
    asked = hands_over(web.cluster, to="pi2")
    for name in ("pi2", "pi3"):
        web.cluster.change_node(name, **others)

    answer = await web.api("POST", PATH, by="ada")

    assert (answer.status, answer.code, asked) == (409, "no_successor", [])
    assert why in answer.json()["error"]["message"]


async def test_a_leader_that_stays_is_said_to_stay(web: Stage) -> None:
    async def in_vain() -> None:
        web.cluster.now_ms += 60_000

    serve_step_downs(web.cluster, in_vain)

    answer = await web.api("POST", PATH, by="ada")

    assert (answer.status, answer.code) == (409, "no_successor")
    assert "pi1 leads on" in answer.json()["error"]["message"]


async def test_without_a_leader_there_is_nobody_to_ask(web: Stage) -> None:
    web.cluster.leader_id = None

    answer = await web.api("POST", PATH, by="ada")

    assert (answer.status, answer.code) == (503, "no_leader")


async def test_a_leader_that_does_not_answer_is_named(web: Stage) -> None:
    web.cluster.peers.unreachable = {web.cluster.node_id}

    answer = await web.api("POST", PATH, by="ada")

    assert (answer.status, answer.code) == (503, "no_leader")
    assert "pi1 leads, and does not answer" in answer.json()["error"]["message"]


async def test_only_administrators_may(web: Stage) -> None:
    asked = hands_over(web.cluster, to="pi2")

    answer = await web.api("POST", PATH, by="bob")

    assert (answer.status, asked) == (403, [])


def test_the_command_names_both(node: CliStage) -> None:
    said = node.run("leader:step-down")

    assert (said.code, said.err) == (0, "pi2 leads now; it was pi1\n")


def test_the_command_in_json(node: CliStage) -> None:
    assert node.run("leader", "step-down", "--json").document == {"was": "pi1", "leader": "pi2"}
