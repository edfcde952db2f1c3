"""Each request once: repeated ones get their first answer, forgotten ones are never done again."""

from random import Random

import pytest

from replicated_queue.errors import KeyReused, SessionExpired
from replicated_queue.sessions import (
    EXPIRED,
    MAX_REMEMBERED_BYTES,
    REUSED,
    SINGLE_SHOT_MS,
    Bundle,
    Sessions,
    SingleShot,
    open_answer,
    single,
)

ANNA, BEN = b"anna............", b"ben............."


class Counter:
    """A state machine that says how often it ran."""

    def __init__(self, **bounds: int) -> None:
        self.sessions = Sessions(**bounds)
        self.runs: list[bytes] = []
        self.index = 0

    def apply(self, bundle: Bundle, *, now: int = 0) -> object:
        return open_answer(self.apply_all(bundle, now=now))

    def apply_all(self, bundle: Bundle, *, now: int = 0) -> list[object]:
        self.index += 1
        return self.sessions.apply(bundle, index=self.index, now=now, run=self._run)

    def _run(self, command: bytes, place: int) -> bytes:
        self.runs.append(command)
        return b"%s no. %d" % (command, len(self.runs))


def request(
    command: bytes, client_id: bytes | None = ANNA, *, slot: int = 0, sequence: int = 1, since: int = 0
) -> Bundle:
    return single("queue", command, client_id, slot=slot, sequence=sequence, since=since)


def test_a_repeated_request_gets_its_first_answer_and_is_not_done_again() -> None:
    """Checklist 1.37 and 1.38: also when it was forwarded twice, by two nodes."""
    counter = Counter()

    first = counter.apply(request(b"put"))
    again = counter.apply(request(b"put"))

    assert first == again == b"put no. 1"
    assert counter.runs == [b"put"]


def test_requests_of_one_bundle_are_each_done_once_and_answered_for_themselves() -> None:
    """Checklist 1.37: also where some of a bundle were done before, as parts of another one."""
    counter = Counter()
    counter.apply_all(Bundle("queue", [0, 1, b"a", 1, 1, b"b"], ANNA))
    counter.apply(request(b"later", slot=1, sequence=2))

    answers = counter.apply_all(Bundle("queue", [0, 1, b"a", 1, 1, b"b", 2, 1, b"c", 2, 1, b"c"], ANNA))

    assert answers == [b"a no. 1", EXPIRED, b"c no. 4", b"c no. 4"]
    assert counter.runs == [b"a", b"b", b"later", b"c"]


def test_all_requests_of_a_forgotten_session_are_answered_so() -> None:
    counter = Counter(max_sessions=1)
    counter.apply(request(b"put", ANNA))
    counter.apply(request(b"put", BEN, since=1))

    answers = counter.apply_all(Bundle("queue", [0, 1, b"put", 1, 1, b"put"], ANNA))

    assert answers == [EXPIRED, EXPIRED]
    assert len(counter.runs) == 2


def test_requests_side_by_side_are_each_remembered_until_the_next_in_their_slot() -> None:
    counter = Counter()
    counter.apply(request(b"waits long", slot=0))
    for sequence in range(1, 100):
        counter.apply(request(b"quick", slot=1, sequence=sequence))

    again = counter.apply(request(b"waits long", slot=0))

    assert again == b"waits long no. 1"
    assert len(counter.runs) == 100


def test_a_request_that_was_given_up_is_never_done_late() -> None:
    counter = Counter()
    counter.apply(request(b"the next one", sequence=2))

    with pytest.raises(SessionExpired):
        counter.apply(request(b"given up", sequence=1))

    assert counter.runs == [b"the next one"]


def test_two_clients_may_use_the_same_numbers() -> None:
    counter = Counter()

    counter.apply(request(b"a", ANNA))
    counter.apply(request(b"b", BEN))

    assert counter.runs == [b"a", b"b"]


def test_a_forgotten_session_is_answered_so_and_its_request_is_not_done_again() -> None:
    """Checklist 1.37: eviction is deterministic and answered."""
    counter = Counter(max_sessions=1)
    counter.apply(request(b"put", ANNA))
    counter.apply(request(b"put", BEN, since=1))

    with pytest.raises(SessionExpired):
        counter.apply(request(b"put", ANNA))

    assert len(counter.runs) == 2


def test_a_client_that_knows_a_later_index_begins_a_new_session() -> None:
    counter = Counter(max_sessions=1)
    counter.apply(request(b"put", ANNA))
    counter.apply(request(b"put", BEN, since=1))

    answer = counter.apply(request(b"another", ANNA, sequence=2, since=2))

    assert answer == b"another no. 3"


def test_the_session_that_was_silent_for_longest_is_forgotten_first() -> None:
    counter = Counter(max_sessions=2)
    counter.apply(request(b"put", ANNA))
    counter.apply(request(b"put", BEN))
    counter.apply(request(b"put", ANNA, sequence=2))
    counter.apply(request(b"put", b"carl............", since=3))

    assert counter.apply(request(b"put", ANNA, sequence=2)) == b"put no. 3"
    with pytest.raises(SessionExpired):
        counter.apply(request(b"put", BEN))


def test_remembered_answers_are_bounded_by_their_bytes() -> None:
    counter = Counter()
    large = bytes(MAX_REMEMBERED_BYTES // 3)
    for number in range(5):
        counter.apply(request(large, b"client %08d." % number, since=counter.index))

    assert len(counter.sessions._sessions) < 4
    assert counter.sessions._session_bytes <= MAX_REMEMBERED_BYTES


def test_a_request_without_client_is_done_each_time() -> None:
    counter = Counter()

    counter.apply(request(b"expire", None))
    counter.apply(request(b"expire", None))

    assert len(counter.runs) == 2


def shot(command: bytes, key: bytes = ANNA, *, fingerprint: int = 0) -> Bundle:
    client_id = SingleShot(key).client_id
    return single("queue", command, client_id, sequence=1, since=fingerprint, single_shot=True)


def test_an_idempotency_key_is_remembered_for_a_day() -> None:
    counter = Counter()
    first = counter.apply(shot(b"deploy"), now=0)

    again = counter.apply(shot(b"deploy"), now=SINGLE_SHOT_MS - 1)
    next_day = counter.apply(shot(b"deploy"), now=SINGLE_SHOT_MS)

    assert first == again == b"deploy no. 1"
    assert next_day == b"deploy no. 2"


def test_idempotency_keys_are_bounded_and_the_oldest_goes_first() -> None:
    counter = Counter(max_single_shots=3)
    keys = [b"key %012d" % number for number in range(4)]
    for key in keys:
        counter.apply(shot(b"deploy", key))

    assert counter.apply(shot(b"deploy", keys[1])) == b"deploy no. 2"
    assert counter.apply(shot(b"deploy", keys[3])) == b"deploy no. 4"
    assert len(counter.sessions._single_shots) == 3


def owned(owner: bytes, number: int, command: bytes = b"x") -> Bundle:
    client_id = SingleShot(b"key %d" % number, owner=owner).client_id
    return single("queue", command, client_id, sequence=1, single_shot=True)


def test_whoever_puts_many_requests_under_keys_has_only_the_keys_of_nobody_else_forgotten() -> None:
    counter = Counter(max_single_shots=10)
    for number in range(3):
        counter.apply(owned(b"", number))
        counter.apply(owned(b"user ben", number))
    for number in range(100):
        counter.apply(owned(b"user ada", number))
    runs = len(counter.runs)

    for number in range(3):
        counter.apply(owned(b"", number))
        counter.apply(owned(b"user ben", number))
    for number in range(96, 100):
        counter.apply(owned(b"user ada", number))

    assert len(counter.runs) == runs


@pytest.mark.parametrize("seed", range(30))
def test_no_owner_with_less_than_a_fair_share_loses_a_key_before_a_day_because_of_others(seed: int) -> None:
    random, now, bound = Random(seed), 0, 40
    counter = Counter(max_single_shots=bound)
    asked: dict[bytes, dict[int, tuple[int, int]]] = {}  # of each owner: when, and how long its answer was
    for number in range(600):
        owner = b"user %d" % int(random.paretovariate(1))
        command = bytes(random.randrange(1 if owner[-1] % 2 else 4 * MAX_REMEMBERED_BYTES // bound))
        now += random.choice((0, 1, SINGLE_SHOT_MS // 100))
        counter.apply(owned(owner, number, command), now=now)
        asked.setdefault(owner, {})[number] = now, len(command)
        for known in asked.values():
            for old in [old for old, (then, _) in known.items() if now - then >= SINGLE_SHOT_MS]:
                del known[old]
        owners = sum(map(bool, asked.values()))
        for owner, known in asked.items():
            shots = [SingleShot(b"key %d" % one, owner=owner) for one in known]
            lost = [shot for shot in shots if counter.sessions.first_answer(shot, now=now) is EXPIRED]
            share = len(known) / bound + sum(size for _, size in known.values()) / MAX_REMEMBERED_BYTES
            assert not lost or share * owners >= 1
            for gone in lost:
                del known[int(gone.key[4:])]


def test_owners_keep_their_shares_through_a_snapshot_and_replicas_forget_the_same() -> None:
    random, counter = Random(1), Counter(max_single_shots=20)
    asked = [
        owned(b"user %d" % random.randrange(5), number, bytes(random.randrange(9))) for number in range(99)
    ]
    for one in asked[:60]:
        counter.apply(one)
    again = Counter(max_single_shots=20)
    rebuild = again.sessions.rebuild()
    for row in counter.sessions.rows():
        rebuild.take(row)
    rebuild.become()

    for one in asked[60:]:
        counter.apply(one)
        again.runs = counter.runs[:-1]
        again.apply(one)

        assert again.sessions.digest() == counter.sessions.digest()


def test_a_key_that_was_used_for_something_else_is_refused_and_nothing_is_done() -> None:
    counter = Counter()
    counter.apply(shot(b"deploy", fingerprint=1))

    with pytest.raises(KeyReused):
        counter.apply(shot(b"destroy", fingerprint=2))

    assert counter.runs == [b"deploy"]
    assert counter.apply(shot(b"deploy", fingerprint=1)) == b"deploy no. 1"


def test_a_first_answer_is_found_for_what_asked_for_it_until_it_is_forgotten() -> None:
    counter = Counter()
    counter.apply(shot(b"deploy", fingerprint=1), now=0)

    def found(key: bytes, fingerprint: int, now: int = 0) -> object:
        return counter.sessions.first_answer(SingleShot(key, 1, fingerprint), now=now)

    assert found(ANNA, 1, now=SINGLE_SHOT_MS - 1) == b"deploy no. 1"
    assert found(ANNA, 1, now=SINGLE_SHOT_MS) is EXPIRED
    assert found(ANNA, 2) is REUSED
    assert found(BEN, 1) is EXPIRED


def test_a_snapshot_brings_back_keys_with_and_without_a_fingerprint() -> None:
    counter = Counter()
    counter.apply(shot(b"deploy", fingerprint=1))
    counter.apply(shot(b"restart", BEN))
    rows = list(counter.sessions.rows())
    again = Sessions()

    rebuild = again.rebuild()
    for row in rows:
        rebuild.take(row)
    rebuild.become()

    assert [len(row) for row in rows] == [2, 6, 5]  # without one as it was before there were any
    assert again.digest() == counter.sessions.digest()
    assert again.first_answer(SingleShot(ANNA, 1, 2), now=0) is REUSED


def test_two_replicas_that_saw_the_same_entries_remember_the_same() -> None:
    one, two = Counter(max_sessions=3), Counter(max_sessions=3)
    for counter in (one, two):
        for number in range(20):
            client = b"client %08d." % (number * 7 % 5)
            counter.apply(request(b"x", client, slot=number % 2, sequence=number + 1, since=counter.index))
        counter.apply(shot(b"deploy"))

    assert one.sessions.digest() == two.sessions.digest()
    two.apply(shot(b"deploy", BEN))
    assert one.sessions.digest() != two.sessions.digest()
