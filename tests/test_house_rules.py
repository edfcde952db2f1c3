"""The rules of CONTRIBUTING.md that a machine can check."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pinode", "gossip", "replicated_queue", "builders")

# A package may import the rooms of a lower floor, and its own floor where that is said in SAME_FLOOR.
FLOORS: dict[str, float] = {
    "pinode.node": 6,
    "pinode.node_parts": 5.5,
    "pinode.node_agreement": 5,
    "pinode.machine_watch": 5.7,
    "pinode.wind_down": 5.7,
    "pinode.peer_book": 5.7,
    "pinode.node_process": 6.5,
    "pinode.cli": 7,
    "pinode.web": 5,
    "pinode.operations": 4,
    "pinode.deploy": 3,
    "pinode.scheduler": 3,
    "pinode.dynos": 3,
    "pinode.router": 3,
    "pinode.lan_names": 3,
    "pinode.live_cluster": 4,
    "pinode.node_facts": 2,
    "pinode.raft_links": 2,
    "pinode.metrics": 2,
    "pinode.queue_socket": 2,
    "pinode.beanstalk_port": 5,
    "pinode.own_address": 1,
    "pinode.own_certificate": 1,
    "pinode.cluster": 2,
    "pinode.cluster_state": 2,
    "pinode.slugs": 2,
    "pinode.logs": 2,
    "pinode.sandbox": 1,
    "pinode.apps": 1,
    "pinode.people": 1,
    "pinode.nodes": 1,
    "pinode.card": 1,
    "pinode.peers": 0,
    "pinode.host": 0,
    "pinode.wall_clock": 0,
    "pinode.event_loop": 0,
    "pinode.memory": 0,
    "pinode.rate_limit": 0,
    "pinode.admission": 2,
    "pinode.registration": 2,
    "pinode.key_care": 2,
    "pinode.settings": 0,
    "pinode.errors": 0,
    "pinode.feature_level": 0,
    "pinode.local_door": 0,
}
SAME_FLOOR = {0, 1, 2}  # on these floors a room may use its neighbours; cycles are looked for all the same
CORES = [
    "gossip/messages.py",
    "gossip/keys.py",
    "gossip/codec.py",
    "gossip/member.py",
    "gossip/swim.py",
    "gossip/lifeguard.py",
    "gossip/dissemination.py",
    "gossip/stats.py",
    "gossip/anti_entropy.py",
    "gossip/events.py",
    "gossip/outbox.py",
    "gossip/probe.py",
    "gossip/roster.py",
    "gossip/turns.py",
    "gossip/view.py",
    "replicated_queue/raft/*.py",
    "replicated_queue/queue/*.py",
    "replicated_queue/beanstalk/protocol.py",
    "replicated_queue/beanstalk/reports.py",
    "replicated_queue/sessions.py",
    "replicated_queue/parts.py",
    "replicated_queue/codec.py",
    "replicated_queue/replica.py",
    "builders/app_json.py",
    "builders/procfile.py",
    "pinode/apps/*.py",
    "pinode/people/*.py",
    "pinode/nodes/*.py",
    "pinode/feature_level.py",
    "pinode/rate_limit.py",
    "pinode/card/hardware.py",
    "pinode/card/old_state.py",
    "pinode/cluster_state.py",
    "pinode/scheduler/plan.py",
    "pinode/scheduler/variant_plan.py",
    "pinode/scheduler/cron_plan.py",
    "pinode/scheduler/occurrences.py",
    "pinode/deploy/git_protocol.py",
    "pinode/deploy/worker_choice.py",
    "pinode/dynos/dyno.py",
    "pinode/dynos/endings.py",
    "pinode/dynos/once_dyno.py",
    "pinode/metrics/rings.py",
    "pinode/router/route_table.py",
    "pinode/slugs/fetch_plan.py",
    "pinode/lan_names/wanted.py",
    "pinode/lan_names/name_book.py",
    "pinode/router/settling.py",
]
CORE_MAY_NOT = {
    "asyncio", "time", "socket", "os", "subprocess", "threading", "logging", "random", "pathlib", "ssl", "aiohttp",
    "psutil", "secrets", "uuid", "signal", "shutil", "tempfile",
}  # fmt: skip
BAD_NAMES = re.compile(r"(^|_)(utils?|helpers?|common|misc|base)(_|$)")


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports at run time or for types."""
    found: set[str] = set()
    package = module_of(path).split(".")
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = package[: len(package) - node.level + (path.name == "__init__.py")] if node.level else []
            start = ".".join([*up, *([node.module] if node.module else [])])
            found |= {start} | {f"{start}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str | None:
    name = ".".join(module.split(".")[:2])
    return name if name in FLOORS else None


def test_every_room_of_pinode_has_a_floor() -> None:
    rooms = {module_of(path).split(".")[1] for path in sources("pinode") if "." in module_of(path)}

    unknown = {room for room in rooms if f"pinode.{room}" not in FLOORS and room != "__main__"}

    assert not unknown, f"give {unknown} a floor in {__file__}"


def test_imports_point_one_way() -> None:
    wrong = []
    for path in sources("pinode"):
        here = room_of(module_of(path))
        if here is None:
            continue
        for name in imports_of(path):
            there = room_of(name)
            if there is None or there == here:
                continue
            up = FLOORS[there] > FLOORS[here]
            beside = FLOORS[there] == FLOORS[here] and FLOORS[here] not in SAME_FLOOR
            if up or beside:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")

    assert not wrong, "\n".join(wrong)


def test_gossip_queue_and_builders_know_nothing_of_pinode_nor_of_each_other() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in PACKAGES[1:]
        for path in sources(package)
        for name in imports_of(path)
        if name.split(".")[0] in PACKAGES and name.split(".")[0] != package
    ]

    assert not wrong, "\n".join(wrong)


def test_no_import_cycles() -> None:
    modules = {module_of(path): path for path in sources(*PACKAGES)}
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        # `from package import module` names both; only the longest name that is a module counts.
        named = imports_of(path) & modules.keys()
        edges[module] = {
            name
            for name in named
            if name != module and not any(other.startswith(name + ".") for other in named)
        }
    state: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        state[module] = 1
        stack.append(module)
        for name in sorted(edges[module]):
            assert state.get(name) != 1, "import cycle: " + " -> ".join([*stack[stack.index(name) :], name])
            if name not in state:
                visit(name)
        stack.pop()
        state[module] = 2

    for module in sorted(modules):
        if module not in state:
            visit(module)


def test_cores_have_no_io_no_clock_no_task_no_logging() -> None:
    wrong = []
    for pattern in CORES:
        for path in sorted(ROOT.glob(pattern)):
            tree = tree_of(path)
            if any(isinstance(node, ast.AsyncFunctionDef | ast.Await) for node in ast.walk(tree)):
                wrong.append(f"{path.relative_to(ROOT)}: async")
            for node in ast.walk(tree):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    # `from random import Random` is how chance is handed in; `random.random()` is not.
                    names = [] if [a.name for a in node.names] == ["Random"] else [node.module or ""]
                wrong += [
                    f"{path.relative_to(ROOT)}: {name}"
                    for name in names
                    if name.split(".")[0] in CORE_MAY_NOT
                ]
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ("open", "print")
                ):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {node.func.id}()")

    assert not wrong, "\n".join(wrong)


def test_files_and_functions_are_small() -> None:
    wrong = []
    for path in sources(*PACKAGES):
        lines = path.read_text().count("\n")
        if lines > 400:
            wrong.append(f"{path.relative_to(ROOT)} has {lines} lines (400)")
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > 50:
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {size} lines (50)")

    assert not wrong, "\n".join(wrong)


def test_names_say_what_a_thing_is() -> None:
    wrong = []
    for path in sources(*PACKAGES):
        wrong += [
            str(path) for part in path.relative_to(ROOT).with_suffix("").parts if BAD_NAMES.search(part)
        ]
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Processor|Helper|Util)s?$", node.name):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")

    assert not wrong, "\n".join(wrong)


def test_no_state_and_no_work_at_import() -> None:
    """Module level holds definitions and constants; a mutable module-level name would be state."""
    wrong = []
    for path in sources(*PACKAGES):
        for node in tree_of(path).body:
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                for name in names:
                    if name.islower() and not name.startswith("__") and name not in ("logger",):
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
            elif isinstance(node, ast.For | ast.While | ast.With):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} work at import")

    assert not wrong, "\n".join(wrong)


def test_public_names_have_docstrings() -> None:
    wrong = []
    for path in sources(*PACKAGES):
        tree = tree_of(path)
        if not ast.get_docstring(tree) and path.read_text().strip():
            wrong.append(f"{path.relative_to(ROOT)}: module")
        for node in tree.body:
            if (
                isinstance(node, ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")

    assert not wrong, "\n".join(wrong)


def test_tests_never_sleep_and_patch_nothing() -> None:
    wrong = []
    for path in sources("tests"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if path.name != "test_house_rules.py" and re.search(
                r"\b(time|asyncio)\.sleep\((?!0\))|monkeypatch\.setattr|mock\.patch", line
            ):
                wrong.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")

    assert not wrong, "\n".join(wrong)


def test_no_shell_is_given_text() -> None:
    wrong = []
    for path in sources(*PACKAGES):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                shell = any(k.arg == "shell" for k in node.keywords)
                if shell or called in ("os.system", "os.popen", "asyncio.create_subprocess_shell"):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "NotImplementedError"])
def test_nothing_is_left_open_in_the_code(word: str) -> None:
    found = subprocess.run(
        ["grep", "-rnw", "--include=*.py", word, *PACKAGES], cwd=ROOT, capture_output=True, text=True
    ).stdout

    assert not found, found


def test_broad_excepts_say_why() -> None:
    """`except Exception` stands only at a boundary that must outlive its guest, with a comment that says which."""
    wrong = []
    for path in sources(*PACKAGES):
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines, 1):
            if re.search(r"except (Base)?Exception\b|except:\s*$", line) and "#" not in line + lines[number]:
                wrong.append(f"{path.relative_to(ROOT)}:{number} {line.strip()}")

    assert not wrong, "\n".join(wrong)


def test_nothing_is_raised_where_groups_of_errors_are_caught() -> None:
    """Before Python 3.11.4, which Debian 12 does not have, it arrives as a group, and nobody knows it."""
    raised = [
        f"{path.relative_to(ROOT)}:{raising.lineno}"
        for path in sources(*PACKAGES)
        for caught in ast.walk(tree_of(path))
        if isinstance(caught, ast.TryStar)
        for handler in caught.handlers
        for raising in ast.walk(handler)
        if isinstance(raising, ast.Raise)
    ]

    assert not raised


def test_decisions_have_numbers_of_their_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    numbers = [name.partition("-")[0] for name in names]

    assert len(set(numbers)) == len(numbers), names
    for name in names:
        first = (ROOT / "docs/decisions" / name).read_text().partition("\n")[0]
        assert first.startswith(f"# {int(name[:4])}. "), f"{name} begins with {first!r}"
