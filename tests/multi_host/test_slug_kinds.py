"""Nodes of two kinds in one cluster: a slug for each, and an app that outlives the last node of one kind.

The other kind is real as far as this machine goes: its CPU is what the kernel says under another personality
(`setarch`), its Python the one of the system, while ours is another installation.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.demo_nodes import DemoNode
from pinode.cli.demo_source import served
from pinode.cli.folder_archive import archive_folder
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository

ROOT = Path(__file__).parents[2]
OWN = Path(sys.executable).resolve()
SYSTEM = Path("/usr/bin/python{}.{}".format(*sys.version_info[:2]))
OTHER_CPU = {"x86_64": "i686", "aarch64": "armv8l"}.get(platform.machine(), "")
OURS, THEIRS = ([platform.machine()], str(OWN)), ([OTHER_CPU], str(SYSTEM.resolve()))
pytestmark = [
    pytest.mark.multi_host,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not SYSTEM.is_file() or SYSTEM.resolve() == OWN or not OTHER_CPU or not shutil.which("setarch"),
        reason=f"needs {SYSTEM} besides {OWN}, and setarch",
    ),
]


class NodesOfTwoKinds(Nodes):
    """The first has this machine's CPU and our Python besides the system's; the others another CPU, and only
    the system's Python.
    """

    def start(self) -> None:
        first, *others = self.nodes
        self.python = self._system_python()
        first.start()
        for node in others:
            self.start_as_other(node)
        self.until(self.leader, seconds=60, what="a leader")

    def start_as_other(self, node: DemoNode) -> None:
        """Start it with another CPU and the system's Python alone."""
        words = ["setarch", "linux32", str(self.python), "-m", "pinode", "start"]
        with (node.folder / "node.log").open("ab") as log:
            node.process = subprocess.Popen(
                [*words, "--config", str(node.folder / "cluster.toml")],
                env={name: text for name, text in os.environ.items() if not name.startswith("PINODE_")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _system_python(self) -> Path:
        """The system's Python with the packages that ours has."""
        folder = self.folder / "system"
        subprocess.run([SYSTEM, "-m", "venv", "--without-pip", folder], check=True, timeout=60, umask=0o022)
        (packages,) = (folder / "lib").glob("python*/site-packages")
        for path in (Path(path) for path in sys.path if path.endswith("site-packages")):
            shutil.copytree(path, packages, dirs_exist_ok=True, copy_function=_linked, symlinks=True)
        _linked(str(Path(sys.executable).with_name("uv")), str(folder / "bin/uv"))
        return folder / "bin/python"

    def let_in(self, *nodes: DemoNode, cordon: bool = False) -> None:
        """Let nodes take dynos and builds, or not."""
        for node in nodes:
            self.alive[0].client().post(f"/api/v1/nodes/{node.name}/{'cordon' if cordon else 'uncordon'}", {})
        wanted = "cordoned" if cordon else "active"

        def is_known() -> bool:
            rows = [self.status(one)["nodes"] for one in self.alive]
            names = {node.name for node in nodes}
            return all(
                row["availability"] == wanted for all_rows in rows for row in all_rows if row["name"] in names
            )

        self.until(is_known, seconds=20, what=f"all know who is {wanted}")

    def slugs(self, app: str) -> list[tuple[list[str], str]]:
        """Of its newest release, for which CPU and interpreter each is."""
        release = self.alive[0].client().items(app_path(app, "releases"))[0]
        return [(slug["arch"], slug["interpreter"]) for slug in release["slugs"]]

    def lose(self, node: DemoNode) -> None:
        """It loses power, with its router and its dynos."""
        for pid in (*self.routers(node), *self.dyno_processes(node)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill(node)

    def answers_on(self, app: str, *nodes: DemoNode) -> bool:
        """Whether a dyno of it is up on one of the nodes, and answers there."""
        names = [node.name for node in nodes]
        up = [dyno for dyno in self.dynos(app) if dyno["state"] == "up" and dyno["node"] in names]
        return bool(up) and self.get(app, self.named(up[0]["node"]))[0] == 200


def _linked(source: str, target: str) -> None:
    """The same file once more, where that is possible; a build sees it below this Python's folder."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def nodes_of_two_kinds() -> Iterator[NodesOfTwoKinds]:
    folder = Path(tempfile.mkdtemp(prefix="pinode-test-", dir="/var/tmp"))
    folder.chmod(0o711)  # builds do not run as root, and have to reach the Python in it
    nodes = NodesOfTwoKinds(folder)
    try:
        nodes.start()
        nodes.register_admin()
        yield nodes
    finally:
        nodes.stop()
        if not os.environ.get("PINODE_KEEP_TEST_FOLDERS"):
            shutil.rmtree(folder, ignore_errors=True)


def test_each_kind_of_node_gets_a_slug_and_an_app_outlives_the_last_node_of_the_kind_that_built_it(
    tmp_path: Path,
) -> None:
    for name in ("tiny", "sent"):
        (tmp_path / name).mkdir()
        shutil.copyfile("/bin/true", tmp_path / name / "native.so")  # so that the CPU counts
        make_repository(tmp_path / name, TINY_APP)
    with served(tmp_path) as base, nodes_of_two_kinds() as nodes:
        first, *others = nodes.nodes
        nodes.let_in(*others, cordon=True)
        nodes.deploy("blog", f"{base}/tiny")
        assert nodes.slugs("blog") == [OURS]
        (tmp_path / "tiny/app.py").write_text("a newer commit that does not start")
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "newer"],
                       cwd=tmp_path / "tiny", check=True)  # fmt: skip

        nodes.let_in(*others)
        nodes.until(lambda: nodes.slugs("blog") == [OURS, THEIRS], seconds=60, what="a slug for each kind")
        assert nodes.alive[0].client().get(app_path("blog"))["last_version"] == 1
        builds = nodes.alive[0].client().items(app_path("blog", "builds"))
        assert str(builds[0]["for_nodes"]).startswith(f"{OTHER_CPU} with ") and builds[1]["for_nodes"] is None
        assert builds[0]["node"] in [node.name for node in others]

        nodes.let_in(*others, cordon=True)
        client = nodes.alive[0].client()
        client.post("/api/v1/apps", {"name": "sent"})
        archive_folder(tmp_path / "sent", tmp_path / "sent.tar.gz")
        client.upload(app_path("sent", "builds"), tmp_path / "sent.tar.gz", query={})
        nodes.until(lambda: nodes.answers_on("sent", first), seconds=60, what="what was sent answers")
        nodes.lose(first)

        nodes.let_in(*others)
        nodes.until(lambda: nodes.answers_on("blog", *others), seconds=60, what="blog answers on the others")
        nodes.until(
            lambda: nodes.slugs("sent") == [OURS, THEIRS], seconds=90, what="what was sent has a slug there"
        )
        nodes.until(lambda: nodes.answers_on("sent", *others), seconds=60, what="and answers there")


def test_an_app_comes_back_when_the_system_of_its_node_was_replaced_by_one_with_another_python(
    tmp_path: Path,
) -> None:
    (tmp_path / "tiny").mkdir()
    shutil.copyfile("/bin/true", tmp_path / "tiny" / "native.so")
    make_repository(tmp_path / "tiny", TINY_APP)
    with served(tmp_path) as base, nodes_of_two_kinds() as nodes:
        first, *others = nodes.nodes
        nodes.let_in(*others, cordon=True)
        nodes.deploy("blog", f"{base}/tiny")
        assert nodes.slugs("blog") == [OURS]

        nodes.lose(first)
        nodes.start_as_other(first)

        nodes.until(
            lambda: nodes.slugs("blog") == [OURS, THEIRS], seconds=60, what="a slug for the new system"
        )
        nodes.until(lambda: nodes.answers_on("blog", first), seconds=60, what="it answers there again")
