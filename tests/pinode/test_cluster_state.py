"""Queue, registry and people as one state machine: the same bytes give the same state, and nothing is done twice."""

import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from pinode.apps.codec import decode_command as decode_registry_command
from pinode.apps.codec import encode_command as encode_registry_command
from pinode.apps.codec import encode_refusal
from pinode.apps.commands import (
    CreateApp,
    FailRelease,
    HoldSlug,
    MakeReleaseLive,
    Place,
    RequestBuild,
    SetConfig,
    SetFormation,
)
from pinode.apps.errors import AppExists, MalformedCommand, Refused, TooManyDynos
from pinode.cluster_state import decode_result, encode_command
from pinode.people.commands import Register
from pinode.people.errors import WrongSetupCode
from replicated_queue.errors import LeaseLost, UnknownVersion
from replicated_queue.queue.commands import Ack, Put
from replicated_queue.sessions import single
from tests.pinode.agreement import SETUP_CODE_HASH, Agreement, completion

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def agreed() -> Agreement:
    return Agreement()


def play_a_life(agreed: Agreement) -> None:
    agreed.do(Register(name="ada", password_hash=b"h", setup_code_hash=SETUP_CODE_HASH))
    for name in ("blog", "shop", "api"):
        agreed.create(name)
        agreed.do(SetConfig(app=name, set_values={"B": b"2", "A": b"1", "C": b"3"}, actor="ada"))
        agreed.now += 10
        agreed.deploy(name, process_types={"web": "x", "worker": "y"}, holders=("c", "a", "b"))
        agreed.do(Place(app=name, version=1, process_type="web", ordinal=1, node_id="a"))
        agreed.do(MakeReleaseLive(app=name, version=1))
        agreed.do(SetFormation(app=name, quantities={"worker": 2, "web": 2}, actor="ada"))
    agreed.do(SetConfig(app="shop", set_values={"D": b"4"}, unset=("A",), actor="ada"))
    agreed.do(FailRelease(app="shop", version=2, failure="x"))
    agreed.do_on_queue(Put("mail", b"hello"))


def test_a_replica_that_applies_the_same_log_has_the_same_digest(agreed: Agreement) -> None:
    play_a_life(agreed)

    assert agreed.replay().digest() == agreed.state.digest()


def test_the_state_does_not_depend_on_the_interpreters_hash_seed() -> None:
    program = (
        "from tests.pinode.agreement import Agreement\n"
        "from tests.pinode.test_cluster_state import play_a_life\n"
        "agreed = Agreement(); play_a_life(agreed); print(agreed.state.digest().hex())"
    )

    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }

    assert len(digests) == 1


def test_a_request_that_is_asked_again_is_done_once_and_gets_its_first_answer(agreed: Agreement) -> None:
    agreed.create()
    domain, encoded = encode_command(
        RequestBuild(app="blog", git_url="https://h/r", ref=None, subdirectory=None, actor="ada")
    )
    bundle = single(domain, encoded, b"c" * 16, slot=1, sequence=1)

    first = agreed.propose(bundle)
    again = agreed.propose(bundle)

    assert first == again
    assert len(agreed.registry.builds("blog")) == 1


def test_a_refusal_is_raised_again_as_what_it_was(agreed: Agreement) -> None:
    agreed.create("blog")

    with pytest.raises(AppExists) as refused:
        agreed.create("blog")
    assert refused.value.code == "app_exists"
    assert refused.value.details == {"app": "blog"}
    with pytest.raises(TooManyDynos, match="25 dynos are more than the 20"):
        agreed.do(SetFormation(app="blog", quantities={"web": 25}, actor="ada"))
    with pytest.raises(WrongSetupCode):
        agreed.do(Register(name="ada", password_hash=b"h"))
    with pytest.raises(LeaseLost):
        agreed.do_on_queue(Put("mail", b""))
        agreed.do_on_queue(Ack(1, 1))


def test_a_refusal_of_a_newer_node_keeps_its_code_and_message() -> None:
    newer = encode_refusal(Refused("the moon is full.", hint="Wait.", code="full_moon", phase=3))

    with pytest.raises(Refused) as refused:
        decode_result("registry", newer)

    assert (refused.value.code, refused.value.message, refused.value.hint) == (
        "full_moon",
        "the moon is full.",
        "Wait.",
    )


def test_a_command_of_an_unknown_kind_or_version_stops_the_node(agreed: Agreement) -> None:
    for domain in ("registry", "people", "moon"):
        for plain in ([1, "Sing", {}], [2, "CreateApp", {"name": "a", "owner": "b"}]):
            with pytest.raises(UnknownVersion):
                agreed.propose(single(domain, msgpack.packb(plain)))


def test_an_unknown_field_is_skipped_and_a_missing_one_has_its_default() -> None:
    encoded = msgpack.packb([1, "CreateApp", {"name": "a", "owner": "b", "colour": "red"}, "more"])

    assert decode_registry_command(encoded) == CreateApp(name="a", owner="b")


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        msgpack.packb(7),
        msgpack.packb([1]),
        msgpack.packb([1, "CreateApp", []]),
        msgpack.packb([1, "CreateApp", {"name": "a"}]),
        msgpack.packb([1, "CreateApp", {"name": 1, "owner": "b"}]),
        msgpack.packb([1, "CreateApp", {"name": "a", "owner": "b", "apps_per_user": True}]),
        msgpack.packb([1, "CreateApp", {"name": b"\xff", "owner": "b"}]),
        msgpack.packb([1, "HoldSlug", {"digest": "a", "node_id": "b", "holds": 1}]),
        msgpack.packb([1, "SetFormation", {"app": "a", "actor": "b", "quantities": {"web": "1"}}]),
        msgpack.packb([1, "SetConfig", {"app": "a", "set_values": {"A": "text"}}]),
    ],
)
def test_broken_bytes_are_refused_and_change_nothing(agreed: Agreement, encoded: bytes) -> None:
    before = agreed.registry.digest()

    with pytest.raises(MalformedCommand):
        decode_result("registry", agreed.propose(single("registry", encoded)))

    assert agreed.registry.digest() == before


def test_what_no_bytes_can_say_is_refused_before_it_is_proposed() -> None:
    with pytest.raises(MalformedCommand):
        encode_command(CreateApp(name="\ud800", owner="ada"))
    with pytest.raises(MalformedCommand):
        encode_command(CreateApp(name="a", owner="ada", apps_per_user=2**70))


@pytest.mark.parametrize(
    "command",
    [
        completion(1, 2, process_types={"web": "x", "a": "y"}, default_formation={"web": 2}),
        SetConfig(app="a", set_values={"A": b"\0\xff", "B": b""}, unset=("C", "D"), actor="ada"),
        Place(app="a", version=1, process_type="web", ordinal=1, node_id="a", replaces=7),
        HoldSlug(digest="a" * 64, node_id="b", holds=False),
    ],
)
def test_a_command_comes_back_from_its_bytes(command: SetConfig) -> None:
    assert decode_registry_command(encode_registry_command(command)) == command


def test_equal_commands_have_equal_bytes_whatever_the_order_of_their_maps() -> None:
    one = SetConfig(app="a", set_values={"A": b"1", "B": b"2"})
    other = SetConfig(app="a", set_values={"B": b"2", "A": b"1"})

    assert encode_registry_command(one) == encode_registry_command(other)
