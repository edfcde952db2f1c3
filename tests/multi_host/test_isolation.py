"""What a deployed app sees of the node that builds and runs it (checklist 5.9): nothing. A whole real cluster."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from pinode.cli.build_commands import wait_for_release
from pinode.cli.demo_source import served
from pinode.cli.target import app_path
from tests.multi_host.three_nodes import TINY_APP, Nodes, make_repository, running_nodes

pytestmark = [pytest.mark.multi_host, pytest.mark.timeout(240)]

NEIGHBOURS_SECRET = "the-neighbours-password"
NODE_FILES = ("cluster.key", "cluster.toml", "node.log", "data", "data/node.key", "data/web.key", "data/pinode.sock",
              "data/queue.sock", "data/router/control.sock", "data/wal", "data/slugs", "data/builds", "data/dynos")  # fmt: skip
MANY = {".git", ".venv", "cache", "caches", "uv"}  # folders of too many files to try them all
HOOK = """\
import json, os, pathlib, zipfile
from nosy_app import look_around

def build_wheel(folder, config_settings=None, metadata_directory=None):
    seen = look_around(json.loads(os.environ["WANTED"]))
    pathlib.Path("/app/seen_by_build.json").write_text(json.dumps(seen))
    name = "hook-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        info = "hook-1.dist-info/"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: hook\\nVersion: 1\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nGenerator: hook\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return name
"""
NOSY_APP = {
    "nosy_app.py": (Path(__file__).parent / "nosy_app.py").read_text(),
    "hook.py": HOOK,
    "pyproject.toml": (
        '[project]\nname = "hook"\nversion = "1"\n\n'
        '[build-system]\nrequires = []\nbuild-backend = "hook"\nbackend-path = ["."]\n'
    ),
    "Procfile": "web: python nosy_app.py\n",
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("repositories")
    make_repository(folder / "nosy", NOSY_APP)
    make_repository(folder / "tiny", TINY_APP)
    with running_nodes(count=1) as running, served(folder) as base:
        running.create("neighbour", f"{base}/tiny")
        configure(running, "neighbour", SECRET=NEIGHBOURS_SECRET)
        deploy(running, "neighbour")
        running.create("nosy", f"{base}/nosy")
        configure(running, "nosy", WANTED=json.dumps(wanted(running)))
        deploy(running, "nosy")
        yield running


@pytest.fixture(scope="module")
def confession(nodes: Nodes) -> dict[str, dict[str, Any]]:
    status, text = nodes.get("nosy", nodes.nodes[0])
    assert status == 200, text
    seen: dict[str, dict[str, Any]] = json.loads(text)
    return seen


@pytest.fixture(params=["build", "dyno"])
def seen(request: pytest.FixtureRequest, confession: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return confession[request.param]


def configure(nodes: Nodes, app: str, **values: str) -> None:
    nodes.alive[0].client().request("PATCH", app_path(app, "config"), body=values)


def deploy(nodes: Nodes, app: str) -> None:
    wait_for_release(nodes.alive[0].client(), app, nodes.request_build(app), within_seconds=120)


def wanted(nodes: Nodes) -> dict[str, list[Any]]:
    """What a spy who knows the machine well would try."""
    node = nodes.nodes[0]
    there = [str(path) for path in node.folder.rglob("*") if not MANY & set(path.parts)]
    paths = [str(node.folder), str(nodes.folder), *(str(node.folder / name) for name in NODE_FILES), *there]
    return {
        "paths": sorted(set(paths)),
        "sockets": [str(path) for path in node.folder.rglob("*.sock")],
        "pids": processes(nodes),
        "loopback": [[node.host, node.ports["peer"]], [node.host, node.ports["web"]]],
    }


def processes(nodes: Nodes) -> list[int]:
    """The node and all that it started: its router, the neighbour's dyno with its walls."""
    process = nodes.nodes[0].process
    assert process
    return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]


def test_the_spy_knew_what_to_look_for(nodes: Nodes) -> None:
    known = wanted(nodes)

    assert len(known["sockets"]) >= 2
    assert len(known["pids"]) >= 3
    assert any(path.endswith("node.key") for path in known["paths"])
    assert any("/dynos/" in path and path.endswith("app.py") for path in known["paths"])


def test_no_file_of_the_node_nor_of_another_app_is_there(seen: dict[str, Any]) -> None:
    assert seen["readable"] == []
    assert seen["existing"] == []


def test_folders_of_the_system_show_only_the_system(seen: dict[str, Any]) -> None:
    folders = seen["folders"]
    shown = {
        part for prefix in (sys.prefix, sys.base_prefix) for part in Path(prefix).parts
    }  # our Python, at most

    for empty in ("/root", "/home", "/run", "/srv", "/media", "/sys", "/boot"):
        assert set(folders.get(empty, ())) <= shown, empty
    assert {"passwd", "group"} <= set(folders["/etc"])
    assert not {"shadow", "pinode", "ssh", "sudoers", "machine-id"} & set(folders["/etc"])
    assert "cluster.key" not in json.dumps(folders)


def test_no_process_but_its_own_is_seen_signalled_or_traced(seen: dict[str, Any]) -> None:
    assert seen["signalled"] == seen["traced"] == []
    assert not [line for line in seen["commands"] if "pinode start" in line or "pinode.router" in line]
    assert NEIGHBOURS_SECRET not in json.dumps(seen)


def test_no_door_of_the_node_opens(seen: dict[str, Any]) -> None:
    assert seen["connected"] == []
    assert seen["abstract_sockets"] == []


def test_it_has_no_rights_and_can_win_none(seen: dict[str, Any], nodes: Nodes) -> None:
    assert set(seen["capabilities"]) == {"0" * 16}
    assert seen["no_new_privileges"]
    assert not seen["mounted"]
    assert seen["written"] == []
    assert not {"kmsg", "mem", "fuse", "sda", "mmcblk0", "kvm"} & set(seen["devices"])


def test_no_open_file_of_the_node_came_along(seen: dict[str, Any], nodes: Nodes) -> None:
    """A dyno's output is a file in the data directory: it shows as a descriptor, but opens nothing else."""
    strange = [
        target
        for target in seen["descriptors"]
        if not target.startswith(("pipe:", "socket:", "/dev/null", "/proc/", "/app", "/build")) and target
    ]

    assert [target for target in strange if not target.endswith((".log", "output"))] == []


def test_the_environment_holds_the_apps_own_settings_and_no_key_of_the_node(
    seen: dict[str, Any], nodes: Nodes
) -> None:
    key = (nodes.nodes[0].folder / "cluster.key").read_text().strip()
    environment = seen["own_environment"]

    assert key not in json.dumps(environment)
    assert not [
        name for name in environment if name.startswith("PINODE_")
        and name not in ("PINODE_APP", "PINODE_DYNO", "PINODE_RELEASE", "PINODE_NODE", "PINODE_BUILD")
    ]  # fmt: skip


def test_services_on_loopback_are_still_within_reach_as_the_security_page_says(
    seen: dict[str, Any],
) -> None:
    """The network is the host's in this version. When it is not any more, this test and the page change."""
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()

    assert len(seen["loopback"]) == 2
    assert "loopback" in page
