"""A node from the command line: its files written, its state shown with what is wrong first, its end."""

import base64
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.node_commands import next_step
from pinode.peers.cluster_key import read_cluster_key
from pinode.settings import Address, load_settings
from tests.pinode.cli_stage import CliStage, cli_stage, finish, run_here, start_process

IGNORES_SIGTERM = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        yield stage


def test_init_writes_two_files_that_a_node_starts_with(tmp_path: Path) -> None:
    folder = tmp_path / "new"

    ran = run_here(
        "init",
        "--expect",
        "3",
        "--name",
        "attic",
        "--join",
        "pi1",
        "--join",
        "pi2:7400",
        "--dir",
        str(folder),
    )

    settings = load_settings(folder / "cluster.toml", {})
    assert ran.code == 0
    assert (settings.cluster.name, settings.cluster.expect) == ("attic", 3)
    assert settings.cluster.join == (Address("pi1", 7300), Address("pi2", 7400))
    assert settings.cluster.key_file == folder / "cluster.key"
    assert len(read_cluster_key(folder / "cluster.key").secret) == 32
    assert len(base64.b64decode((folder / "cluster.key").read_bytes())) == 32
    assert stat.S_IMODE((folder / "cluster.key").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["cluster.key", "cluster.toml"]


def test_init_says_which_files_go_where_and_what_comes_next(tmp_path: Path) -> None:
    ran = finish(start_process("init", "--expect", "3", cwd=tmp_path))

    assert ran.out == ""
    for said in ("cluster.toml and cluster.key", "other 2 Pis", "secret", "pinode start"):
        assert said in ran.err


def test_init_for_one_pi_asks_for_no_copies(tmp_path: Path) -> None:
    ran = run_here("init", "--dir", str(tmp_path))

    assert "Copy" not in ran.err
    assert f"pinode start --config {tmp_path / 'cluster.toml'}" in ran.err


def test_init_of_the_system_goes_on_with_the_command_that_starts_it_at_boot() -> None:
    assert next_step(Path("/etc/pinode/cluster.toml")) == "sudo pinode install"
    assert next_step(Path("cluster.toml")) == "pinode start"


@pytest.mark.parametrize("name", ["cluster.toml", "cluster.key"])
def test_init_overwrites_neither_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")

    ran = run_here("init", "--dir", str(tmp_path))

    assert ran.code == 5
    assert str(tmp_path / name) in ran.err and "nothing was changed" in ran.err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


@pytest.mark.parametrize(
    "words, named",
    [
        (["--name", "My Home"], "'My Home'"),
        (["--name", 'x"\nexpect = 9 #'], "cluster.toml"),
        (["--join", "pi1;reboot"], "pi1;reboot"),
        (["--join", "pi1:99999"], "pi1:99999"),
    ],
)
def test_init_leaves_nothing_behind_when_a_value_cannot_be(
    tmp_path: Path, words: list[str], named: str
) -> None:
    ran = run_here("init", *words, "--dir", str(tmp_path))

    assert ran.code == 2
    assert named in ran.err
    assert list(tmp_path.iterdir()) == []


def test_init_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    ran = run_here("init", "--dir", str(tmp_path / "file" / "below"))

    assert ran.code == 1
    assert "cannot write into" in ran.err


def test_status_puts_sick_nodes_first_and_says_each_problem_once(node: CliStage) -> None:
    node.do(lambda cluster: cluster.change_node("pi3", state="dead", stats_age_seconds=90.0))
    node.do(lambda cluster: cluster.change_node("pi2", state="suspect"))

    ran = node.run("status")

    lines = ran.out.splitlines()
    assert lines[0] == "home: 1 of 3 nodes alive, leader pi1, term 3, 1 entries agreed"
    assert [line.split()[1] for line in lines if line.startswith("! ")] == ["pi3", "pi2"]
    table = lines[lines.index("") + 1 :]
    assert [line.split()[:2] for line in table[1:4]] == [
        ["pi3", "dead"],
        ["pi2", "suspect"],
        ["pi1", "alive"],
    ]
    assert "%" not in table[1], "numbers of a dead node mislead"


def test_status_without_a_quorum_says_so_once_and_since_when(node: CliStage) -> None:
    node.do(lambda cluster: setattr(cluster, "leader_id", None))
    node.do(lambda cluster: setattr(cluster, "has_quorum", False))

    ran = node.run("status")

    assert ran.code == 0
    assert "no leader (last heard 12 s ago)" in ran.out.splitlines()[0]
    assert ran.out.count("no quorum") == 1
    assert ran.err == ""


def test_status_fits_into_a_terminal(node: CliStage) -> None:
    for name in ("pi1", "pi2", "pi3"):
        node.do(
            lambda cluster, name=name: cluster.change_node(name, host="192.168.100.201", dynos=12, builds=1)
        )
    node.do(lambda cluster: cluster.put_job("mail"))

    lines = node.run("status").out.splitlines()

    assert max(map(len, lines)) <= 90
    assert "192.168.100.201" in "\n".join(lines) and "52 °C" in "\n".join(lines)


def test_status_shows_the_topics_that_have_jobs(node: CliStage) -> None:
    node.do(lambda cluster: cluster.put_job("mail"))

    assert node.run("status").out.splitlines()[-1].split() == ["mail", "1", "0", "0", "0"]


def test_status_in_json_is_the_document_of_the_contract(node: CliStage) -> None:
    document = node.run("status", "--json").document

    assert set(document) == {"cluster", "nodes", "queue", "warnings"}
    assert set(document["cluster"]) >= {
        "name",
        "id",
        "leader",
        "term",
        "commit_index",
        "has_quorum",
        "view_age_seconds",
    }
    assert {"name", "state", "role", "address", "web", "stats", "cordoned", "dynos"} <= set(
        document["nodes"][0]
    )


def test_nodes_say_where_their_web_is(node: CliStage) -> None:
    ran = node.run("nodes")

    assert "https://192.0.2.2:8000" in ran.out
    assert [row["name"] for row in node.run("nodes", "--json").document["items"]] == ["pi1", "pi2", "pi3"]


def test_the_setup_code_is_shown_until_it_is_used(tmp_path: Path) -> None:
    with cli_stage(tmp_path, people=()) as fresh:
        shown, document = fresh.run("setup-code"), fresh.run("setup-code", "--json").document
        fresh.do(lambda cluster: cluster.add_user("ada"))
        used = fresh.run("setup-code")

    assert (shown.code, shown.out) == (0, "ABCD-EFGH\n")
    assert document == {"setup_code": "ABCD-EFGH"}
    assert used.code == 5 and "has been used" in used.err


@pytest.mark.parametrize("words, everything", [(["stop"], False), (["stop", "--all"], True)])
def test_stop_returns_when_the_node_has_ended_even_if_its_parent_does_not_look(
    node: CliStage, words: list[str], everything: bool
) -> None:
    node.control.process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )

    ran = node.run(*words)

    assert (ran.code, ran.err) == (0, "stopped\n")
    assert node.control.stopped == [everything]
    assert node.control.process.wait(5) == -signal.SIGTERM


def test_a_node_that_does_not_end_in_time_is_8(node: CliStage) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IGNORES_SIGTERM], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline()
    node.control.process = process

    ran = node.run("stop", "--wait", "0.1")

    process.kill()
    process.communicate()
    assert ran.code == 8
    assert f"pid {process.pid}" in ran.err


@pytest.mark.parametrize(
    "setting, said", [('colour = "red"', "unknown key 'colour'"), ("expect = 0", "expect = 0")]
)
def test_start_ends_with_2_when_a_setting_cannot_be(tmp_path: Path, setting: str, said: str) -> None:
    (tmp_path / "cluster.toml").write_text(f"[cluster]\n{setting}\n")

    ran = run_here("start", "--config", str(tmp_path / "cluster.toml"))

    assert ran.code == 2
    assert said in ran.err and "Valid: " in ran.err
