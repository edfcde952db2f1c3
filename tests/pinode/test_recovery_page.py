"""The page for who has lost a Pi, a card or a majority says what the code does."""

import re
from dataclasses import replace
from pathlib import Path
from random import Random

from pinode.card.old_state import Reason
from pinode.card.recovery import Outlook, Voter
from pinode.card.set_aside import FOLDER, MOST
from pinode.cli.recover_command import outlook_in_words
from pinode.peers.founding_record import FoundingMember, new_founding_record
from replicated_queue.raft.autopilot import voters_wanted
from replicated_queue.raft.membership import Membership
from replicated_queue.raft.messages import EntryId, Snapshot
from replicated_queue.storage.remains import Remains
from replicated_queue.storage.snapshots import SnapshotMark
from tests.pinode.test_card import SECRETS

PAGE = (Path(__file__).parents[2] / "docs/recovery.md").read_text()
ME = "c1aeda9e2cefe3f0"
DAY_MS = 24 * 3_600_000


def test_the_folders_on_the_page_are_the_reasons_that_there_are() -> None:
    assert re.findall(r"^\| `0001-([a-z-]+)` \|", PAGE, re.MULTILINE) == [str(reason) for reason in Reason]


def test_what_recover_says_stands_on_the_page_as_it_says_it() -> None:
    member = FoundingMember(node_id=ME, name="pi3", host="10.0.0.3", peer_port=7300)
    record = new_founding_record(
        name="home", members=[member], secrets=SECRETS, random=Random(1), created_at_unix=0.0
    )
    snapshot = SnapshotMark(Snapshot(EntryId(12, 4711), (1, 2, 3), ()), cluster_time=3 * DAY_MS)
    remains = Remains(
        me=int(ME, 16),
        membership=Membership.of((1, 2, int(ME, 16))),
        mark=snapshot,
        entries=[],
        term=12,
        vote=0,
        cluster_time=3 * DAY_MS,
        damage="",
    )
    pi1 = Voter(node_id="1" * 16, name="pi1", answers=False)
    outlook = Outlook(
        record=record,
        node_id=ME,
        remains=remains,
        voters=(pi1, replace(pi1, name="pi2")),
        others=frozenset(),
    )

    block = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)

    assert block is not None
    shown = [line.removeprefix("   ").rstrip() for line in block[1].splitlines()]
    assert "\n".join(shown).strip() == outlook_in_words(outlook).strip()


def test_bounds_and_names_on_the_page_are_those_of_the_code() -> None:
    assert f"`{FOLDER}` in its data directory" in PAGE
    assert MOST == 5 and "at five of them" in PAGE
    assert [voters_wanted(count) for count in (1, 2, 3, 6, 7)] == [1, 1, 3, 3, 5]
