"""`pinode join-token` and what `pinode start --join` takes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinode.cli.invocation import Failure
from pinode.cli.join_flags import what_to_join
from pinode.errors import InvalidInput
from pinode.nodes.commands import AdvanceKeyRotation, OfferKey, RotateKey
from pinode.peers.join_token import JoinToken, decode_join_token, encode_join_token
from pinode.settings import Address
from tests.pinode.cli_stage import CliStage, cli_stage
from tests.waiting import until

TOKEN = JoinToken((Address("pi1", 7300),), b"a" * 32, b"s" * 16)
WORD = encode_join_token(TOKEN)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[CliStage]:
    with cli_stage(tmp_path) as stage:
        yield stage


def test_a_token_goes_to_stdout_and_what_to_do_with_it_to_stderr(node: CliStage) -> None:
    ran = node.run("join-token", "--expires", "5m")

    token = decode_join_token(ran.out)
    assert node.cluster.state.nodes.is_good(token.secret_hash, node.cluster.now_ms + 299_000)
    assert "pinode start --join TOKEN" in ran.err and "5 min" in ran.err


def test_tokens_as_json_and_revoked(node: CliStage) -> None:
    made = node.run("join-token", "--json").document
    revoked = node.run("join-token", "--revoke", "--json").document

    assert decode_join_token(made["token"]) and made["expires_in_seconds"] == 3600
    assert revoked == {"revoked": 1}


def test_join_takes_a_token_a_file_with_one_or_hosts(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{WORD}\n")

    assert what_to_join([WORD]).joining.token == TOKEN
    assert what_to_join([f"@{file}"]).joining.token == TOKEN
    hosts = what_to_join(["pi1", "pi2:7300"])
    assert (hosts.hosts, hosts.joining.token, hosts.joining.is_asked_for) == (("pi1", "pi2:7300"), None, True)
    assert not what_to_join([]).joining.is_asked_for


def test_what_is_no_token_is_said_without_repeating_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hunter2")

    with pytest.raises(InvalidInput) as broken:
        what_to_join([WORD[:-3]])
    with pytest.raises(Failure, match="holds no join token") as wrong:
        what_to_join([f"@{file}"])
    with pytest.raises(Failure, match="cannot read"):
        what_to_join([f"@{tmp_path}/missing"])
    with pytest.raises(Failure, match="two join tokens"):
        what_to_join([WORD, WORD])

    assert WORD[20:-3] not in str(broken.value) and "hunter2" not in str(wrong.value)


def test_a_token_on_the_command_line_is_not_in_the_process_list_of_a_running_node(tmp_path: Path) -> None:
    """It runs itself again with a file of memory in its place, and still knows the token."""
    program = (
        "import sys, pathlib\n"
        "from pinode.cli.join_flags import hide_tokens, what_to_join\n"
        "hide_tokens(sys.argv[1:])\n"
        "flags = pathlib.Path('/proc/self/cmdline').read_bytes().split(b'\\0')\n"
        "token = what_to_join([flag for flag in sys.argv[1:]]).joining.token\n"
        "print(token.secret.decode(), *(flag.decode() for flag in flags))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)

    done = subprocess.run(
        [sys.executable, str(script), WORD],
        capture_output=True,
        text=True,
        timeout=30,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("s" * 16) and "@/dev/fd/" in done.stdout
    assert WORD not in done.stdout


def test_removing_wants_the_name_once_more(node: CliStage) -> None:
    node.cluster.change_node("pi3", state="dead")

    without = node.run("node:remove", "pi3")
    wrong = node.run("node", "remove", "pi3", "--confirm", "pi2")
    right = node.run("node:remove", "pi3", "--confirm", "pi3")

    assert without.code == wrong.code == 2 and "--confirm pi3" in without.err
    assert right.code == 0 and right.err.startswith("removed pi3\n") and "pinode key:rotate" in right.err
    assert node.cluster.state.nodes.removed(f"{3:016x}") is not None


def test_removing_a_living_node_says_how_it_leaves(node: CliStage) -> None:
    refused = node.run("node:remove", "pi3", "--confirm", "pi3")
    forced = node.run("node:remove", "pi3", "--confirm", "pi3", "--force")

    assert refused.code == 5 and "pi3 is alive" in refused.err and "pinode leave" in refused.err
    assert forced.code == 0


def test_cordon_drain_and_uncordon(node: CliStage) -> None:
    for verb, availability in (("cordon", "cordoned"), ("drain", "drained"), ("uncordon", "active")):
        assert node.run(f"node:{verb}", "pi2").code == 0
        assert node.run(f"node:{verb}", "pi2", "--json").document["availability"] == availability
    assert node.run("node:drain", "pi9").code == 3


def test_leaving_says_what_it_waits_for_and_ends_with_the_node(node: CliStage) -> None:
    with subprocess.Popen(["sleep", "60"]) as node.control.process:
        node.control.steps = ["the cluster to agree", "web.1 of blog", "web.1 of blog"]
        ran = node.run("leave")

    assert ran.code == 0 and node.control.left_by == "ada"
    assert ran.err.splitlines() == [
        "waiting for the cluster to agree",
        "waiting for web.1 of blog",
        "this node has left; the next `pinode start` begins anew",
    ]


def test_who_has_left_and_starts_at_boot_is_told_how_not_to_begin_anew(node: CliStage) -> None:
    with subprocess.Popen(["sleep", "60"]) as node.control.process:
        node.control.starts_at_boot = True
        ran = node.run("leave")

    assert ran.code == 0 and ran.err.splitlines()[-1].endswith("begin anew then: sudo pinode uninstall")


def test_a_node_that_cannot_leave_says_why(node: CliStage) -> None:
    with subprocess.Popen(["sleep", "60"]) as node.control.process:
        node.control.steps = ["x"]
        node.control.failure = {"message": "this node still holds web.1 of blog", "hint": "scale it down"}
        ran = node.run("leave")
        node.control.process.terminate()

    assert ran.code == 5 and "still holds web.1 of blog" in ran.err and "scale it down" in ran.err


def test_a_rotation_of_the_key_is_waited_for_and_says_who_gets_the_new_one_later(node: CliStage) -> None:
    offer = OfferKey(generation=1, mark="new", previous="old", node_id=f"{1:016x}")
    node.do(lambda cluster: cluster.change_node("pi3", state="dead"))

    process = node.start("key:rotate", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: node.cluster.state.nodes.key_rotation, within_seconds=20, saying="it has begun")
    node.do(lambda cluster: cluster.apply(offer))
    node.do(lambda cluster: cluster.apply(AdvanceKeyRotation(generation=1, mark="new", stage="use")))
    node.do(lambda cluster: cluster.apply(AdvanceKeyRotation(generation=1, mark="new", stage="done")))
    ran = node.finish(process)

    assert ran.code == 0 and "the old one opens nothing" in ran.err
    assert "config vars set before can still be read" in ran.err, "so that it is the time to change them"
    assert "off, and given the new key when they are back: pi3" in ran.err


def test_a_second_rotation_at_once_is_refused_with_what_to_do(node: CliStage) -> None:
    node.do(lambda cluster: cluster.apply(RotateKey(by="ada")))

    ran = node.run("key:rotate")

    assert ran.code == 5 and "`pinode status` shows what it waits for" in ran.err
