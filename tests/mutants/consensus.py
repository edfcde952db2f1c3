"""Bugs somebody could write into the consensus, by line of `docs/checklist_consensus.md`."""

from tests.mutants.mutant import Mutant

TESTS = "tests/replicated_queue/"
ELECTIONS = TESTS + "test_elections.py::"
REPLICATION = TESTS + "test_replication.py::"
MEMBERS = TESTS + "test_membership_changes.py::"
READS = TESTS + "test_reads_by_index.py::"
SNAPSHOTS = TESTS + "test_snapshots_of_the_core.py::"
SLOW = TESTS + "test_slow_disks.py::"
WAL = TESTS + "test_write_ahead_log.py::"
TIME = TESTS + "test_replica.py::"
SESSIONS = TESTS + "test_sessions.py::"

CORE = "replicated_queue/raft/"
RAFT, LEADER, LOG = CORE + "raft.py", CORE + "replication.py", CORE + "log.py"
FOLLOWER = CORE + "following.py"


def planted(line: int, what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line=f"consensus {line}", what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        1,
        "a vote leaves before it is on the disk",
        RAFT,
        "        self._promises.append(\n            VoteResponse(",
        "        self._messages.append(\n            VoteResponse(",
        ELECTIONS + "test_a_vote_leaves_only_after_it_is_on_the_disk",
    ),
    planted(
        1,
        "a candidate counts itself at once",
        RAFT,
        "self.vote = self.me  # counted in `persisted`",
        "self.vote = self.me\n        self._count_vote(self.me, granted=True)",
        ELECTIONS + "test_a_candidate_counts_its_own_vote_only_when_it_is_on_the_disk",
    ),
    planted(
        2,
        "an append is acknowledged before it is on the disk",
        RAFT,
        "self._promises.append(take_append(self.log, message))",
        "self._messages.append(take_append(self.log, message))",
        REPLICATION + "test_an_append_is_acknowledged_only_after_its_entries_are_on_the_disk",
    ),
    planted(
        3,
        "entries of older terms are committed by counting",
        LEADER,
        "if index <= self._log.commit_index or self._log.term_at(index) != self._term:",
        "if index <= self._log.commit_index:",
        REPLICATION + "test_a_leader_commits_by_counting_only_entries_of_its_own_term",
    ),
    planted(
        4,
        "reads do not wait for the no-op",
        LEADER,
        "commit=self._log.commit_index if opened else None",
        "commit=self._log.commit_index",
        READS + "test_a_read_that_comes_before_the_no_op_is_committed_waits_for_it",
    ),
    planted(
        5,
        "logs are compared by length alone",
        LOG,
        "return other >= self.last\n",
        "return other.index >= self.last.index\n",
        ELECTIONS + "test_a_vote_compares_the_last_term_first_then_the_length",
    ),
    planted(
        6,
        "a late append cuts what follows it",
        LOG,
        "if entry.index > self.last_index or self.term_at(entry.index) != entry.term:",
        "if True:",
        REPLICATION + "test_a_late_shorter_append_truncates_nothing",
    ),
    planted(
        7,
        "a follower commits its own unverified tail",
        FOLLOWER,
        "log.commit_to(min(message.commit, vouched))",
        "log.commit_to(min(message.commit, log.last_index))",
        REPLICATION + "test_a_follower_commits_only_what_the_message_vouches_for",
    ),
    planted(
        7,
        "heartbeats carry the commit index as it is",
        LEADER,
        "commit = min(progress.match_index, self._log.commit_index)",
        "commit = self._log.commit_index",
        REPLICATION + "test_a_heartbeat_commits_no_more_than_what_is_known_to_match",
    ),
    planted(
        8,
        "committed entries are replaced in silence",
        LOG,
        'if index <= self.commit_index:\n            raise LogDiverged(\n                f"entry {index} is committed and',
        'if False:\n            raise LogDiverged(\n                f"entry {index} is committed and',
        REPLICATION + "test_replacing_a_committed_entry_ends_the_process_with_the_state",
    ),
    planted(
        9,
        "a pre-vote moves the term",
        RAFT,
        "if isinstance(message, PreVote) or (isinstance(message, PreVoteResponse) and not message.reject):",
        "if isinstance(message, PreVoteResponse) and not message.reject:",
        ELECTIONS + "test_a_pre_vote_and_its_answer_change_no_term",
    ),
    planted(
        10,
        "a pre-vote of an older term gets no answer",
        FOLLOWER,
        "return [PreVoteResponse(sender=me, to=to, term=term, reject=True)]",
        "return []",
        ELECTIONS + "test_a_pre_vote_of_a_lower_term_is_answered_with_ours_so_that_nobody_waits_for_ever",
    ),
    planted(
        10,
        "a pre-candidate still knows its leader",
        RAFT,
        "self.role = Role.PRE_CANDIDATE\n        self.leader = 0",
        "self.role = Role.PRE_CANDIDATE",
        ELECTIONS + "test_a_pre_candidate_knows_no_leader",
    ),
    planted(
        11,
        "who hears a leader votes for others",
        RAFT,
        "return self.config.check_quorum and heard",
        "return False",
        ELECTIONS + "test_a_node_that_hears_its_leader_ignores_candidates_unless_the_leader_sent_them",
    ),
    planted(
        12,
        "a leader that hears nobody stays",
        RAFT,
        "if self.config.check_quorum and not replication.is_quorum_active():",
        "if False:",
        ELECTIONS + "test_a_leader_that_hears_no_majority_for_an_election_timeout_steps_down",
    ),
    planted(
        13,
        "a voter that lags counts as well",
        "replicated_queue/slow_disk.py",
        "if progress.is_recent_active and progress.match_index >= last_index:",
        "if progress.is_recent_active:",
        SLOW + "test_a_voter_that_has_taken_no_more_than_we_have_is_not_fit_to_lead",
    ),
    planted(
        13,
        "slow disks play ball with the leadership",
        "replicated_queue/slow_disk.py",
        "self._quiet_until = now + PAUSE_SECONDS",
        "self._quiet_until = now",
        SLOW + "test_leadership_is_not_given_away_twice_within_thirty_seconds",
    ),
    planted(
        16,
        "reads are answered without asking anybody",
        CORE + "reads.py",
        "if not voters.is_quorum([*peers, self._me]):",
        "if False:",
        READS + "test_a_read_waits_until_a_majority_has_confirmed_the_leader_after_it_came",
    ),
    planted(
        16,
        "any answer to a heartbeat confirms every read",
        CORE + "reads.py",
        "if newest >= number]",
        "if newest]",
        READS + "test_an_answer_to_an_earlier_heartbeat_confirms_nothing",
    ),
    planted(
        20,
        "a new leader forgets that changes may wait in its log",
        LEADER,
        "self.pending_change_index = last\n",
        "self.pending_change_index = 0\n",
        MEMBERS + "test_a_new_leader_refuses_changes_until_all_that_it_found_in_its_log_is_applied",
    ),
    planted(
        20,
        "two changes are under way at a time",
        LEADER,
        "if self.pending_change_index > self._log.applying_index:",
        "if False:",
        MEMBERS + "test_a_second_change_is_refused_until_the_first_is_applied",
    ),
    planted(
        21,
        "a snapshot does not bring its membership",
        RAFT,
        "self.membership = take_snapshot(self.log, message) or self.membership",
        "take_snapshot(self.log, message)",
        SNAPSHOTS + "test_a_snapshot_brings_the_membership_and_drops_a_change_that_it_covers",
    ),
    planted(
        22,
        "a removed leader leads on",
        RAFT,
        "if self.me not in self.membership.voters and self.config.step_down_on_removal:",
        "if False:",
        MEMBERS + "test_a_removed_leader_goes_on_until_the_change_is_applied_and_then_stops",
    ),
    planted(
        22,
        "a removed node is voted for",
        RAFT,
        "return not known and not self.log.may_be_member(peer)",
        "return False",
        MEMBERS + "test_a_removed_node_disrupts_nobody",
    ),
    planted(
        22,
        "a newcomer is shut out by an old view",
        RAFT,
        "return not known and not self.log.may_be_member(peer)",
        "return not known",
        MEMBERS
        + "test_a_voter_votes_for_a_newcomer_that_its_log_names_though_the_change_is_not_applied_here",
    ),
    planted(
        23,
        "learners count",
        CORE + "membership.py",
        "return cls(Voters(voters), tuple(sorted(set(learners))))",
        "return cls(Voters([*voters, *learners]), tuple(sorted(set(learners))))",
        MEMBERS + "test_a_learner_counts_neither_for_commits_nor_for_check_quorum_nor_for_votes",
    ),
    planted(
        29,
        "a snapshot inside a matching log drops what follows",
        FOLLOWER,
        "log.commit_to(snapshot.last.index)\n        return None",
        "log.restore(snapshot)\n        return None",
        SNAPSHOTS + "test_a_snapshot_inside_a_matching_log_keeps_what_follows_it",
    ),
    planted(
        30,
        "an old snapshot is installed",
        FOLLOWER,
        "if snapshot.last.index <= log.commit_index or message.to not in membership:",
        "if message.to not in membership:",
        SNAPSHOTS + "test_a_snapshot_older_than_what_is_committed_changes_nothing",
    ),
    planted(
        30,
        "entries are sent beside a snapshot",
        CORE + "progress.py",
        "return self.state is ProgressState.SNAPSHOT or self.is_flow_paused",
        "return self.is_flow_paused",
        SNAPSHOTS + "test_while_a_snapshot_is_under_way_nothing_else_and_no_second_one_is_sent",
    ),
    planted(
        31,
        "compaction keeps nothing for who was away for a moment",
        LOG,
        "index = snapshot.last.index - keep",
        "index = snapshot.last.index",
        SNAPSHOTS + "test_entries_kept_behind_the_snapshot_spare_a_rebooted_node_the_snapshot",
    ),
    planted(
        31,
        "snapshots are sent into the dark",
        LEADER,
        "if snapshot is None or not progress.is_recent_active:",
        "if snapshot is None:",
        SNAPSHOTS + "test_no_snapshot_is_sent_to_who_does_not_answer",
    ),
    planted(
        32,
        "the term at the snapshot is forgotten",
        LOG,
        "return self.base.term if index == self.base.index else None",
        "return None",
        SNAPSHOTS + "test_an_empty_log_behind_a_snapshot_still_knows_the_term_before_it",
    ),
    planted(
        33,
        "damage anywhere is taken for a torn tail",
        "replicated_queue/storage/recovery.py",
        "if header is not None and header.synced > self.position:",
        "if False:",
        WAL + "test_damage_in_an_earlier_segment_is_refused",
    ),
    planted(
        34,
        "a failed sync is taken for a success",
        "replicated_queue/storage/wal.py",
        "        self._file.sync()\n        self._position += len(batch)",
        "        try:\n            self._file.sync()\n        except Exception:\n            pass\n"
        "        self._position += len(batch)",
        WAL + "test_a_failed_sync_is_reported_and_nothing_is_acknowledged_after_it",
    ),
    planted(
        37,
        "a repeated request is done again",
        "replicated_queue/sessions.py",
        "if known is not None and envelope.sequence <= known[0]:",
        "if known is not None and envelope.sequence < known[0]:",
        SESSIONS + "test_a_repeated_request_gets_its_first_answer_and_is_not_done_again",
    ),
    planted(
        40,
        "an entry of a later version is guessed",
        "replicated_queue/codec.py",
        "if version != ENTRY_VERSION:",
        "if False:",
        TESTS
        + "test_frames_and_records.py::"
        + "test_an_entry_of_an_unknown_version_stops_the_node_rather_than_part_the_replicas",
    ),
    planted(
        41,
        "an entry is applied again",
        "replicated_queue/replica.py",
        "assert entry.index == self.applied_index + 1",
        "assert entry.index",
        TIME + "test_an_entry_out_of_order_is_never_applied",
    ),
    planted(
        42,
        "a leader counts entries that are not on its disk",
        LEADER,
        "        self.broadcast_append()\n        return first",
        "        self.persisted(self._log.last_index)\n        self.broadcast_append()\n        return first",
        REPLICATION + "test_a_single_voter_commits_only_after_its_own_disk",
    ),
    planted(
        45,
        "uncommitted bytes have no bound",
        LEADER,
        "if waiting and waiting + size > self._config.max_uncommitted_bytes:",
        "if False:",
        REPLICATION + "test_uncommitted_bytes_are_bounded_and_one_large_entry_still_passes",
    ),
    planted(
        46,
        "whoever answers twice counts twice",
        RAFT,
        "self._votes.setdefault(voter, granted)",
        "self._votes[max(self._votes, default=0) + 1] = granted",
        ELECTIONS + "test_a_voter_is_counted_once_however_often_it_answers",
    ),
)
