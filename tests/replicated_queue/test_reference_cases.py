"""Our core against the scripted cases of the reference implementation, where they are at hand.

They are not part of this repository: `PINODE_RAFT_CASES` names their folder, and without it nothing is replayed.
`PINODE_RAFT_TRACE` names one for the traces of the replayed groups.
"""

import os
from pathlib import Path

import pytest

from replicated_queue.raft.trace import line_of
from tests.replicated_queue.scripted_cases import (
    MembershipTable,
    ScriptedGroup,
    Unsupported,
    judge_quorum,
    read_script,
    replay,
)

FOLDER = os.environ.get("PINODE_RAFT_CASES", "")
TRACES = os.environ.get("PINODE_RAFT_TRACE", "")
SCRIPTS = sorted(Path(FOLDER).rglob("*.txt")) if FOLDER else []
OTHER_TABLES = {"quorum", "confchange"}

pytestmark = pytest.mark.skipif(not SCRIPTS, reason="PINODE_RAFT_CASES names no folder with scripted cases")


def table_of(path: Path) -> str:
    """Which kind of script this is, from the folder above its `testdata`; empty for a group's."""
    return path.parent.parent.name if path.parent.parent.name in OTHER_TABLES else ""


def named(kind: str) -> list[object]:
    return [pytest.param(path, id=path.stem) for path in SCRIPTS if table_of(path) == kind]


@pytest.mark.parametrize("path", named(""))
def test_a_group_behaves_as_the_script_says(path: Path) -> None:
    group = ScriptedGroup()
    try:
        difference = replay(path.read_text(), group)
    except Unsupported as feature:
        pytest.skip(f"needs {feature}")
    if TRACES:
        lines = "".join(line_of(event) + "\n" for event in group.events)
        (Path(TRACES) / f"{path.stem}.ndjson").write_text(lines)

    assert not difference, "\n".join([str(path), *difference])


@pytest.mark.parametrize("path", named("quorum"))
def test_quorum_arithmetic_is_as_the_table_says(path: Path) -> None:
    for block in read_script(path.read_text()):
        try:
            judged = judge_quorum(block)
        except Unsupported as feature:
            pytest.skip(f"needs {feature}")

        assert judged == block.expected[-1], f"{path}:{block.line} {block.command} {block.options}"


@pytest.mark.parametrize("path", named("confchange"))
def test_membership_changes_are_as_the_table_says(path: Path) -> None:
    table = MembershipTable()

    for block in read_script(path.read_text()):
        try:
            printed = table.run(block)
        except Unsupported as feature:
            pytest.skip(f"needs {feature}")

        assert printed == block.expected, f"{path}:{block.line} {block.input}"
