"""Reads and replays scripted cases of the reference implementation against our core.

A script is blocks of a command, `----`, and what must come out. Messages, states, entries and progress are
compared; the words of log lines are not. `Unsupported` names what a script needs and this package leaves out.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from replicated_queue.errors import Busy, NotLeader
from replicated_queue.raft.config import RaftConfig
from replicated_queue.raft.log import UNLIMITED, RaftLog
from replicated_queue.raft.membership import (
    Change,
    ChangeKind,
    ChangeRefused,
    Membership,
    decode_changes,
)
from replicated_queue.raft.messages import (
    Append,
    AppendRejected,
    AppendResponse,
    Entry,
    EntryId,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    Ready,
    Role,
    Snapshot,
    TimeoutNow,
    Vote,
    VoteResponse,
)
from replicated_queue.raft.progress import Progress, ProgressState
from replicated_queue.raft.raft import Raft
from replicated_queue.raft.replication import followed
from replicated_queue.raft.trace import Event, TracedRaft
from replicated_queue.raft.voters import Tally, Voters

ELECTION_TICKS = 3
HEARTBEAT_TICKS = 1
KINDS: dict[type[Message], str] = {
    PreVote: "MsgPreVote",
    PreVoteResponse: "MsgPreVoteResp",
    Vote: "MsgVote",
    VoteResponse: "MsgVoteResp",
    Append: "MsgApp",
    AppendResponse: "MsgAppResp",
    AppendRejected: "MsgAppResp",
    Heartbeat: "MsgHeartbeat",
    HeartbeatResponse: "MsgHeartbeatResp",
    TimeoutNow: "MsgTimeoutNow",
    InstallSnapshot: "MsgSnap",
}
ROLES = {
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}
PROGRESS = {
    ProgressState.PROBE: "StateProbe",
    ProgressState.REPLICATE: "StateReplicate",
    ProgressState.SNAPSHOT: "StateSnapshot",
}
CHANGES = {"v": ChangeKind.ADD_VOTER, "l": ChangeKind.ADD_LEARNER, "r": ChangeKind.REMOVE}
LETTERS = {kind: letter for letter, kind in CHANGES.items()}
TALLIES = {Tally.PENDING: "VotePending", Tally.WON: "VoteWon", Tally.LOST: "VoteLost"}
DROPPED = "raft proposal dropped"
LOG_LINE = re.compile(r"^\s*(DEBUG|INFO|WARN|ERROR|FATAL) |^ok$")


class Unsupported(Exception):
    """The script needs a feature that this package does not have."""


@dataclass
class Block:
    """One command of a script and what it must print."""

    line: int
    command: str
    words: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    input: list[str] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return [int(word) for word in self.words]


def listed(value: str) -> list[str]:
    """`(1, 2)` or `1`, as a list."""
    return [part.strip() for part in value.strip("()").split(",") if part.strip()]


def read_script(text: str) -> Iterator[Block]:
    """The blocks of a script."""
    lines = [*text.splitlines(), ""]
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        start = at
        while lines[at] != "----":
            at += 1
        block = parse_command(start + 1, lines[start], lines[start + 1 : at])
        at += 1
        end, skip = ("----", 2) if lines[at] == "----" else ("", 0)
        at += bool(skip)
        while lines[at] != end or (skip and lines[at + 1] != "----"):
            block.expected.append(lines[at])
            at += 1
        at += skip
        yield block


def parse_command(line: int, command: str, more: list[str]) -> Block:
    name, _, rest = command.partition(" ")
    block = Block(line, name, input=more)
    for match in re.finditer(r"([\w-]+)=(\([^)]*\)|\S+)|(\S+)", rest):
        if match[1]:
            block.options[match[1]] = match[2]
        else:
            block.words.append(match[3])
    return block


class ScriptedGroup:
    """Replicas that persist at once, and the messages under way between them."""

    def __init__(self) -> None:
        self.nodes: dict[int, Raft] = {}
        self.events: list[Event] = []
        self.messages: list[Message] = []
        self.is_quiet = False
        self.in_first_format: set[tuple[int, int]] = set()  # term and index of changes proposed with v1=true

    def run(self, block: Block) -> list[str]:
        """Do what the block says, and return what it prints, without log lines."""
        handler: Callable[[Block], list[str]] | None = getattr(
            self, "do_" + block.command.replace("-", "_"), None
        )
        if handler is None:
            raise Unsupported(block.command)
        return handler(block)

    def do_log_level(self, block: Block) -> list[str]:
        self.is_quiet = block.words == ["none"]
        return []

    def do_add_nodes(self, block: Block) -> list[str]:
        options = dict(block.options)
        membership = Membership.of(
            [int(voter) for voter in listed(options.pop("voters", ""))],
            [int(learner) for learner in listed(options.pop("learners", ""))],
        )
        index = int(options.pop("index", 0))
        config = RaftConfig(
            election_ticks=ELECTION_TICKS,
            heartbeat_ticks=HEARTBEAT_TICKS,
            pre_vote=options.pop("prevote", "false") == "true",
            check_quorum=options.pop("checkquorum", "false") == "true",
            max_inflight_appends=int(options.pop("inflight", options.pop("max-inflight", UNLIMITED))),
            step_down_on_removal=options.pop("step-down-on-removal", "false") == "true",
            max_apply_bytes=int(options.pop("max-committed-size-per-ready", UNLIMITED)),
        )
        options.pop("content", None)
        if options.pop("async-storage-writes", "false") != "false" or options:
            raise Unsupported(f"add-nodes {' '.join(options) or 'async-storage-writes'}")
        for _ in range(int(block.words[0])):
            me = len(self.nodes) + 1
            last = EntryId(1 if index else 0, index)
            snapshot = Snapshot(last, membership.voters.ids, membership.learners) if index else None
            log = RaftLog(base=last, snapshot=snapshot)
            self.nodes[me] = TracedRaft(
                sink=self.events.append,
                me=me,
                membership=membership,
                random=Random(me),
                config=config,
                log=log,
            )
        return []

    def do_propose_conf_change(self, block: Block) -> list[str]:
        changes = [change for line in block.input for change in parse_changes(line)]
        if not changes:
            raise Unsupported("changes that change nothing")
        is_joint = len(changes) != 1 or block.options.get("transition", "auto") != "auto"
        if is_joint or set(block.options) - {"v1", "transition"}:
            raise Unsupported("joint consensus")
        raft = self.nodes[int(block.words[0])]
        try:
            index = raft.propose_change(changes)
        except NotLeader as error:
            return [refused(error)]
        except Busy:
            return [DROPPED]
        except ChangeRefused:  # where we refuse, the reference turns the change into an empty entry
            raft.propose([b""])
            return []
        if block.options.get("v1") == "true":
            self.in_first_format.add((raft.term, index))
        return []

    def do_compact(self, block: Block) -> list[str]:
        log = self.nodes[block.ids[0]].log
        assert log.snapshot is not None
        log.compact(log.snapshot, keep=log.snapshot.last.index - block.ids[1])
        return self.do_raft_log(block)

    def do_send_snapshot(self, block: Block) -> list[str]:
        sender, to = block.ids
        raft = self.nodes[sender]
        assert raft.log.snapshot is not None
        message = InstallSnapshot(sender=sender, to=to, term=raft.term, snapshot=raft.log.snapshot)
        self.messages.append(message)
        return self.describe_message(message).split("\n")

    def do_campaign(self, block: Block) -> list[str]:
        self.nodes[block.ids[0]].campaign()
        return []

    def do_propose(self, block: Block) -> list[str]:
        try:
            self.nodes[int(block.words[0])].propose([block.words[1].encode()])
        except NotLeader as error:
            return [refused(error)]
        except Busy:
            return [DROPPED]
        return []

    def do_tick_election(self, block: Block) -> list[str]:
        self.nodes[block.ids[0]].tick(ELECTION_TICKS)
        return []

    def do_tick_heartbeat(self, block: Block) -> list[str]:
        self.nodes[block.ids[0]].tick(HEARTBEAT_TICKS)
        return []

    def do_set_randomized_election_timeout(self, block: Block) -> list[str]:
        self.nodes[block.ids[0]].timer.timeout_ticks = int(block.options["timeout"])
        return []

    def do_forget_leader(self, block: Block) -> list[str]:
        self.nodes[block.ids[0]].forget_leader()
        return []

    def do_transfer_leadership(self, block: Block) -> list[str]:
        self.nodes[int(block.options["from"])].transfer_leadership(int(block.options["to"]))
        return []

    def do_report_unreachable(self, block: Block) -> list[str]:
        self.nodes[block.ids[0]].peer_unreachable(block.ids[1])
        return []

    def do_process_ready(self, block: Block) -> list[str]:
        if len(block.ids) == 1:
            return self.process_ready(block.ids[0])
        lines: list[str] = []
        for node in block.ids:
            lines += [f"> {node} handling Ready", *indented(self.process_ready(node))]
        return lines

    def process_ready(self, node: int) -> list[str]:
        raft = self.nodes[node]
        ready = raft.ready()
        delayed = (AppendResponse, AppendRejected, PreVoteResponse)
        sent = [message for message in ready.messages if not isinstance(message, delayed)]
        sent += [message for message in ready.messages if isinstance(message, delayed)]
        sent += ready.promises
        self.messages += sent
        raft.log.snapshot = Snapshot(raft.log.applied, raft.membership.voters.ids, raft.membership.learners)
        raft.persisted(ready.term, ready.last_index)
        return self.describe_ready(ready, sent)

    def do_deliver_msgs(self, block: Block) -> list[str]:
        if set(block.options) - {"drop", "type"}:
            raise Unsupported(f"deliver-msgs {' '.join(block.options)}")
        kind = block.options.get("type", "")
        lines = [line for node in block.ids for line in self.deliver(node, kind=kind, drop=False)]
        lines += [
            line
            for node in listed(block.options.get("drop", ""))
            for line in self.deliver(int(node), kind=kind, drop=True)
        ]
        return lines or ["no messages"]

    def deliver(self, node: int, *, drop: bool, kind: str = "") -> list[str]:
        mine = [message for message in self.messages if message.to == node and is_kind(message, kind)]
        self.messages = [message for message in self.messages if message not in mine]
        lines: list[str] = []
        for message in mine:
            lines += (("dropped: " if drop else "") + self.describe_message(message)).split("\n")
            if not drop:
                self.nodes[node].step(message)
        return lines

    def do_stabilize(self, block: Block) -> list[str]:
        lines: list[str] = []
        nodes = block.ids or sorted(self.nodes)
        while True:
            before = len(lines)
            for node in nodes:
                if self.nodes[node].has_ready:
                    lines += [f"> {node} handling Ready", *indented(self.process_ready(node))]
            for node in nodes:
                if any(message.to == node for message in self.messages):
                    lines += [f"> {node} receiving messages", *indented(self.deliver(node, drop=False))]
            if len(lines) == before:
                return lines

    def do_raft_log(self, block: Block) -> list[str]:
        log = self.nodes[block.ids[0]].log
        entries = log.entries_from(log.base.index + 1, end=log.handed_index)
        empty = f"log is empty: first index={log.base.index + 1}, last index={log.last_index}"
        return [self.describe_entry(entry) for entry in entries] or [empty]

    def do_raft_state(self, block: Block) -> list[str]:
        return [
            f"{node}: {ROLES[raft.role]} ({'Voter' if node in raft.membership.voters else 'Non-Voter'}) "
            f"Term:{raft.term} Lead:{raft.leader}"
            for node, raft in sorted(self.nodes.items())
        ]

    def do_status(self, block: Block) -> list[str]:
        raft = self.nodes[block.ids[0]]
        progress = raft.replication.progress if raft.replication is not None else {}
        return describe_followers(raft.membership, progress)

    def describe_ready(self, ready: Ready, sent: list[Message]) -> list[str]:
        lines: list[str] = []
        if ready.soft_state is not None:
            lines.append(f"Lead:{ready.soft_state.leader} State:{ROLES[ready.soft_state.role]}")
        if ready.hard_state is not None:
            vote = f" Vote:{ready.hard_state.vote}" if ready.hard_state.vote else ""
            lines.append(f"HardState Term:{ready.hard_state.term}{vote} Commit:{ready.hard_state.commit}")
        if ready.entries:
            lines += ["Entries:", *map(self.describe_entry, ready.entries)]
        if ready.snapshot is not None:
            lines.append(f"Snapshot {describe_snapshot(ready.snapshot)}")
        if ready.committed:
            lines += ["CommittedEntries:", *map(self.describe_entry, ready.committed)]
        if sent:
            lines.append("Messages:")
            lines += [line for message in sent for line in self.describe_message(message).split("\n")]
        must_sync = str(ready.must_sync).lower()
        return [f"Ready MustSync={must_sync}:", *lines] if lines else ["<empty Ready>"]

    def describe_entry(self, entry: Entry) -> str:
        if entry.is_change:
            kind = "EntryConfChange" + ("" if entry[:2] in self.in_first_format else "V2")
            changes = " ".join(f"{LETTERS[one.kind]}{one.node}" for one in decode_changes(entry.data))
            return f"{entry.term}/{entry.index} {kind} {changes}"
        return f"{entry.term}/{entry.index} EntryNormal {json.dumps(entry.data.decode())}"

    def describe_message(self, message: Message) -> str:
        place, tail = EntryId(0, 0), ""
        match message:
            case Vote() | PreVote():
                place = message.last
            case VoteResponse() | PreVoteResponse():
                tail = " Rejected (Hint: 0)" if message.reject else ""
            case Append():
                place, tail = message.previous, f" Commit:{message.commit}" if message.commit else ""
                if len(message.entries) == 1:
                    tail += f" Entries:[{self.describe_entry(message.entries[0])}]"
                elif message.entries:
                    tail += "\n".join(
                        [" Entries:[", *indented([*map(self.describe_entry, message.entries)]), "]"]
                    )
            case AppendResponse():
                place = EntryId(0, message.index)
            case AppendRejected():
                place, tail = (
                    EntryId(message.hint.term, message.index),
                    f" Rejected (Hint: {message.hint.index})",
                )
            case Heartbeat():
                tail = f" Commit:{message.commit}" if message.commit else ""
            case InstallSnapshot():
                tail = f"\n  Snapshot: {describe_snapshot(message.snapshot)}"
            case HeartbeatResponse() | TimeoutNow():
                pass
        head = f"{message.sender}->{message.to} {KINDS[type(message)]} Term:{message.term}"
        return f"{head} Log:{place.term}/{place.index}{tail}"


def refused(error: NotLeader) -> str:
    """What the reference says where nobody leads; where somebody does, its followers pass the proposal on."""
    if error.leader is not None:
        raise Unsupported("proposals forwarded by followers") from error
    return DROPPED


def indented(lines: list[str]) -> list[str]:
    return ["  " + line for line in lines]


def is_kind(message: Message, kind: str) -> bool:
    return not kind or KINDS[type(message)] == kind


def parse_changes(line: str) -> list[Change]:
    """The changes that a line names; an update of a node (`u`), and node 0, change nothing."""
    words = [word for word in line.split() if word[0] in CHANGES and int(word[1:])]
    return [Change(CHANGES[word[0]], int(word[1:])) for word in words]


def describe_snapshot(snapshot: Snapshot) -> str:
    voters, learners = (" ".join(map(str, ids)) for ids in (snapshot.voters, snapshot.learners))
    return (
        f"Index:{snapshot.last.index} Term:{snapshot.last.term} ConfState:Voters:[{voters}] "
        f"VotersOutgoing:[] Learners:[{learners}] LearnersNext:[] AutoLeave:false"
    )


def describe_followers(membership: Membership, progress: Mapping[int, Progress]) -> list[str]:
    return [
        f"{node}: {describe_progress(one, is_learner=node in membership.learners)}"
        for node, one in sorted(progress.items())
    ]


def describe_progress(progress: Progress, *, is_learner: bool) -> str:
    text = f"{PROGRESS[progress.state]} match={progress.match_index} next={progress.next_index}"
    text += " learner" if is_learner else ""
    text += " paused" if progress.is_paused else ""
    text += f" pendingSnap={progress.pending_snapshot}" if progress.pending_snapshot else ""
    text += "" if progress.is_recent_active else " inactive"
    if progress.inflight_count:
        text += f" inflight={progress.inflight_count}" + ("[full]" if progress.is_inflight_full else "")
    return text


def replay(text: str, group: ScriptedGroup) -> list[str]:
    """Replay a script; return what differs, as lines for a person. Raises `Unsupported`."""
    for block in read_script(text):
        printed = group.run(block)
        if group.is_quiet or block.options.get("log-level") == "none" or block.command == "log-level":
            continue
        expected = [line for line in block.expected if not LOG_LINE.match(line)]
        if [line.rstrip() for line in printed] != [line.rstrip() for line in expected]:
            return [f"line {block.line}: {block.command}", "expected:", *expected, "printed:", *printed]
    return []


def judge_quorum(block: Block) -> str:
    """The last line of what a table of quorum arithmetic must print."""
    if "cfgj" in block.options:
        raise Unsupported("joint consensus")
    voters = Voters(int(voter) for voter in listed(block.options.get("cfg", "")))
    if block.command == "vote":
        votes = dict(zip(voters.ids, listed(block.options.get("votes", "")), strict=False))
        return TALLIES[voters.tally({voter: vote == "y" for voter, vote in votes.items() if vote != "_"})]
    if block.command != "committed":
        raise Unsupported(f"quorum {block.command} {' '.join(block.options)}")
    indexes = dict(zip(voters.ids, listed(block.options.get("idx", "")), strict=False))
    committed = voters.committed({voter: int(index) for voter, index in indexes.items() if index != "_"})
    return str(committed) if voters.ids else "<empty majority quorum>∞"


class MembershipTable:
    """Membership and progress under the changes of a table; each command counts as one entry."""

    def __init__(self) -> None:
        self.membership = Membership.of(())
        self.progress: dict[int, Progress] = {}
        self.last_index = 0

    def run(self, block: Block) -> list[str]:
        """What the changes of a block lead to, as the table prints it."""
        if block.command != "simple":
            raise Unsupported("joint consensus")
        try:
            self.membership = self.membership.changed(
                [change for line in block.input for change in parse_changes(line)]
            )
        except ChangeRefused as refused:
            return [str(refused)]
        finally:
            self.last_index += 1
        self.progress = followed(
            self.membership, self.progress, last_index=self.last_index - 1, inflight_limit=UNLIMITED
        )
        voters = f"voters=({' '.join(map(str, self.membership.voters.ids))})"
        learners = f" learners=({' '.join(map(str, self.membership.learners))})"
        shown = voters + (learners if self.membership.learners else "")
        return [shown, *describe_followers(self.membership, self.progress)]
