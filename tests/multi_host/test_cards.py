"""Whole nodes whose cards are moved, put back and destroyed (checklist 1.24 to 1.27, 1.43)."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import DemoNode
from replicated_queue import QueueClient
from tests.multi_host.three_nodes import Nodes

pytestmark = pytest.mark.multi_host
ON_A_BOARD = (
    "mount -t tmpfs none /sys/firmware && mkdir -p /sys/firmware/devicetree/base && "
    'printf "%s" "$1" > /sys/firmware/devicetree/base/serial-number && shift && exec "$@"'
)


@pytest.fixture(autouse=True)
def root() -> None:
    if os.geteuid():
        pytest.fail("another machine is made of a mount namespace, which needs root: sudo make test")


def start_on(node: DemoNode, serial: str) -> None:
    """Start a node on a board with this serial number, as its kernel tells it."""
    words = [sys.executable, "-m", "pinode", "start", "--config", str(node.folder / "cluster.toml")]
    with (node.folder / "node.log").open("ab") as log:
        node.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", ON_A_BOARD, "sh", serial, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


class Boards(Nodes):
    """Three nodes, each on a board of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 3)
        self.serials = {node.name: f"10000000{place:08x}" for place, node in enumerate(self.nodes, 0xA1)}

    def start_node(self, node: DemoNode) -> None:
        start_on(node, self.serials[node.name])

    def start(self) -> None:
        for node in self.nodes:
            self.start_node(node)
        self.leader()

    def node_id(self, node: DemoNode, seen_by: DemoNode) -> str:
        rows = {row["name"]: row for row in self.status(seen_by)["nodes"]}
        return str(rows[node.name]["id"])

    def has_come_back(self, node: DemoNode, seen_by: DemoNode) -> bool:
        """Whether it is a node like the others again, with all that is agreed."""
        rows = {row["name"]: row for row in self.status(seen_by)["nodes"]}
        if node.name not in rows or rows[node.name]["state"] != "alive":
            return False
        there, here = self.status(node)["cluster"], self.status(seen_by)["cluster"]
        return bool(there["leader"]) and there["commit_index"] == here["commit_index"]

    def set_aside(self, node: DemoNode) -> list[str]:
        return sorted(path.name for path in (node.folder / "data/set-aside").glob("*"))


@pytest.fixture(scope="module")
def boards() -> Iterator[Boards]:
    """Three healthy nodes: each test leaves them so."""
    folder = Path(tempfile.mkdtemp(prefix="pinode-test-", dir="/var/tmp"))
    boards = Boards(folder)
    try:
        boards.start()
        yield boards
    finally:
        boards.stop()
        if os.environ.get("PINODE_KEEP_TEST_FOLDERS"):
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def data(node: DemoNode) -> Path:
    return node.folder / "data"


def put(node: DemoNode, body: bytes) -> None:
    async def put_one() -> None:
        async with QueueClient.local(data(node), timeout=30) as queue:
            await queue.put("mail", body)

    asyncio.run(put_one())


def take_all(node: DemoNode) -> list[bytes]:
    async def take() -> list[bytes]:
        async with QueueClient.local(data(node), timeout=30) as queue:
            jobs = await queue.reserve_many("mail", 20, wait=0, worker="test")
            await queue.ack_many(jobs)
        return [job.data for job in jobs]

    return asyncio.run(take())


def come_back(boards: Boards, node: DemoNode, seen_by: DemoNode) -> None:
    boards.until(lambda: boards.has_come_back(node, seen_by), seconds=40, what=f"{node.name} has come back")


def test_a_card_in_another_machine_comes_back_as_a_new_node_in_its_old_place(boards: Boards) -> None:
    one, _, three = boards.nodes
    old_id = boards.node_id(three, one)
    put(one, b"before")
    boards.kill(three)
    boards.serials[three.name] = "10000000000000ff"

    boards.start_node(three)
    come_back(boards, three, one)

    assert boards.node_id(three, one) != old_id
    assert boards.set_aside(three) == ["0001-other-hardware"]
    boards.until(
        lambda: any("set-aside/0001-other-hardware" in said for said in boards.status(one)["warnings"]),
        seconds=10,
        what="its state of before is named",
    )
    assert take_all(three) == [b"before"]


@pytest.mark.soak  # rules and links have tests of their own, this is the whole way
def test_an_old_copy_of_a_card_that_is_put_back_is_found_out_by_the_others(boards: Boards) -> None:
    """The leader was told more than the copy has; `test_standing.py` tries those that only count starts."""
    one, _, three = boards.nodes
    old_id = boards.node_id(three, one)
    subprocess.run(["cp", "-a", data(three), three.folder / "backup"], check=True, timeout=30)
    put(one, b"after the backup")
    come_back(boards, three, one)
    boards.kill(three)
    shutil.rmtree(data(three))
    (three.folder / "backup").rename(data(three))

    boards.start_node(three)
    come_back(boards, three, one)

    assert boards.node_id(three, one) != old_id
    assert boards.set_aside(three)[-1].endswith("set-back")
    assert take_all(three) == [b"after the backup"]


def test_a_majority_that_is_destroyed_is_recovered_from_the_node_that_is_left(boards: Boards) -> None:
    """One comes back with an empty card, the other one late, with what it held."""
    one, two, three = boards.nodes
    put(one, b"kept")
    boards.until(lambda: boards.has_come_back(two, one), seconds=20, what="the second one has it")
    boards.cut_power()
    shutil.rmtree(data(one))

    words = [sys.executable, "-m", "pinode", "recover", "--config", str(two.folder / "cluster.toml")]
    recovered = subprocess.run([*words, "--confirm", "demo"], capture_output=True, text=True, timeout=60)
    boards.start_node(two)
    boards.until(
        lambda: boards.status(two)["cluster"]["leader"] == two.name, seconds=20, what="alone, it leads"
    )
    for node in (one, three):
        boards.start_node(node)
    for node in (one, three):
        come_back(boards, node, two)

    assert recovered.returncode == 0, recovered.stderr
    assert "n1 (no answer)" in recovered.stdout
    assert boards.set_aside(one) == []
    assert boards.set_aside(three)[-1].endswith("old-epoch")
    assert take_all(one) == [b"kept"]


@pytest.mark.soak  # rules and links have tests of their own, this is the whole way
def test_a_lone_node_with_a_damaged_log_stops_and_names_recover_which_says_what_is_left(
    tmp_path: Path,
) -> None:
    """That the rest starts again is tried by `test_remains.py` on a service and above on a whole node."""
    nodes = Nodes(tmp_path, 1)
    (node,) = nodes.nodes
    try:
        nodes.start()
        for body in (b"first", b"second", b"third"):
            put(node, body)
        nodes.kill(node)
        segment = data(node) / "log/0000000000000001.wal"
        log = bytearray(segment.read_bytes())
        log[log.index(b"second")] ^= 1
        segment.write_bytes(log)

        node.start()
        assert node.process
        ended_with = node.process.wait(20)
        words = [sys.executable, "-m", "pinode", "recover", "--config", str(node.folder / "cluster.toml")]
        recovered = subprocess.run([*words, "--confirm", "demo"], capture_output=True, text=True, timeout=60)

        assert ended_with == 5 and "`pinode recover` says what is left" in node.last_words()
        assert recovered.returncode == 0 and "is damaged at byte" in recovered.stdout
    finally:
        nodes.stop()
