"""Bugs somebody could write into the queue, by line of `docs/checklist_queue.md`."""

from tests.mutants.mutant import Mutant

TESTS = "tests/replicated_queue/"
LEASES = TESTS + "test_leases_and_tokens.py::"
MEMORY = TESTS + "test_lease_memory.py::"
WAITING = TESTS + "test_waiting_reserves.py::"
UNREAD = TESTS + "test_unread_jobs.py::"
BROKER = TESTS + "test_broker.py::"
BOUNDS = TESTS + "test_bounds_of_the_queue.py::"
WAITS = TESTS + "test_backoff_and_ageing.py::"
NEEDS = TESTS + "test_needs_of_jobs.py::"
ORDER = TESTS + "test_order_of_jobs.py::"
TOPICS = TESTS + "test_topic_settings.py::"
PAUSE = TESTS + "test_pause_and_purge.py::"
TIME = TESTS + "test_replica.py::"

CORE = "replicated_queue/queue/"
QUEUE, BOOK, LINES = CORE + "priority_queue.py", CORE + "job_book.py", CORE + "ready_lines.py"
KEYS, BACKOFF, JOB, FINISHED = (
    CORE + name for name in ("dedupe_keys.py", "backoff.py", "job.py", "finished_jobs.py")
)
DESK, TABLE, LINE = (f"replicated_queue/{name}.py" for name in ("leader_desk", "leases", "waiting_line"))
SESSIONS, FRAMES, REPLICA, SERVICE = (
    f"replicated_queue/{name}.py" for name in ("sessions", "frames", "replica", "service")
)

SHELLS = "tests/simulation/test_shells.py::test_shells_keep_every_promise_through_faults_and_agree_after_them"


def planted(line: int, what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line=f"queue {line}", what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        2,
        "a new leader ends what it finds held at its first look",
        DESK,
        "self._leases.grant(job_id, token, granted_ms / 1000)",
        "self._leases.grant(job_id, token, 0.0)",
        SHELLS,
    ),
    planted(
        4,
        "a busy node answers for those that were asked before",
        "replicated_queue/client.py",
        "case NoQuorum() | Busy() if",
        "case NoQuorum() if",
        TESTS + "test_queue_client.py::test_of_a_repeated_request_no_node_can_say_that_nothing_was_done",
    ),
    planted(
        4,
        "what may have been done is said to be surely not done",
        "replicated_queue/courier.py",
        "                parcel.maybe_done = True\n",
        "                pass\n",
        SHELLS,
    ),
    planted(
        1,
        "an older token is as good as the newest",
        QUEUE,
        "if job.state != LEASED or job.token != token:",
        "if job.state != LEASED or job.token < token:",
        LEASES + "test_a_job_whose_lease_ran_out_goes_to_the_next_worker_and_the_late_ack_is_refused",
    ),
    planted(
        1,
        "the token is the number of the attempt",
        QUEUE,
        "        job.token = token\n",
        "        job.token = job.attempts\n",
        LEASES + "test_what_acts_for_a_job_can_ask_whether_its_token_still_holds",
    ),
    planted(
        2,
        "an expiry ends whatever lease holds the job now",
        QUEUE,
        "if job is not None and job.state == LEASED and job.token == command.token:",
        "if job is not None and job.state == LEASED:",
        LEASES + "test_an_expiry_that_comes_too_late_changes_nothing",
    ),
    planted(
        2,
        "a pause of the process counts against the leases",
        TABLE,
        "if self._seen is not None and now - self._seen <= GAP_SECONDS:",
        "if self._seen is not None:",
        MEMORY + "test_a_pause_of_the_process_lengthens_every_lease_by_at_least_the_pause",
    ),
    planted(
        2,
        "a leader that may have a successor promises time",
        DESK,
        "self._log.confirm(confirmed)",
        "confirmed(0)",
        WAITING + "test_a_leader_without_majority_promises_no_time",
    ),
    planted(
        3,
        "a repeated reserve waits for another job",
        DESK,
        "if request.repeated or is_asked_by_id or",
        "if is_asked_by_id or",
        BROKER + "test_a_reserve_whose_answer_was_lost_gets_the_same_job_and_token",
    ),
    planted(
        4,
        "a repeated request is done again",
        SESSIONS,
        "if sequence <= known[0]:",
        "if sequence < known[0]:",
        BROKER + "test_a_put_over_a_change_of_leader_is_done_exactly_once",
    ),
    planted(
        5,
        "a waiter that is gone stays in line",
        DESK,
        "        waiter = self._waiting.remove(key)\n",
        "        waiter = None\n",
        WAITING + "test_a_waiter_whose_caller_is_gone_takes_no_job",
    ),
    planted(
        3,
        "a job is given back although its reserve may be asked again",
        "replicated_queue/client_server.py",
        "self._broker.withdraw(parcel, asks_again=True)",
        "self._broker.withdraw(parcel)",
        UNREAD + "test_a_job_whose_client_lost_its_connection_waits_for_the_same_request_by_another",
    ),
    planted(
        5,
        "what is leased to who left stays leased to nobody",
        "replicated_queue/courier.py",
        "            parcel.withdrawn.update(range(parcel.size))\n",
        "            pass\n",
        UNREAD + "test_a_job_leased_to_a_caller_that_left_meanwhile_comes_back",
    ),
    planted(
        5,
        "an answer that comes in the moment of the cancellation is lost",
        "replicated_queue/letter.py",
        "            unread(answer.result())\n",
        "            pass\n",
        UNREAD + "test_a_job_whose_caller_is_cancelled_in_the_moment_of_its_answer_comes_back",
    ),
    planted(
        5,
        "an answer that comes before the withdrawal is lost",
        "replicated_queue/letter.py",
        "            self._unread(outcome)\n",
        "            pass\n",
        UNREAD + "test_a_job_leased_to_a_waiter_that_left_meanwhile_comes_back",
    ),
    planted(
        5,
        "a client forgets a job that crosses its withdrawal",
        "replicated_queue/client.py",
        "                    self._give_back(outcome)\n",
        "                    pass\n",
        UNREAD + "test_a_client_gives_back_a_job_that_crosses_its_withdrawal",
    ),
    planted(
        5,
        "a client ends and says nothing of the reserves it had asked for",
        "replicated_queue/client.py",
        "if pending.is_sent and pending.takes_jobs:",
        "if False:",
        UNREAD + "test_a_job_that_is_leased_while_its_client_ends_comes_back",
    ),
    planted(
        15,
        "a kick of many has no end that a repetition comes to",
        "replicated_queue/kicking.py",
        "            wanted = 0  #",
        "            break  #",
        "tests/pinode/test_web_queue.py::test_a_kick_of_many_that_is_repeated_under_one_key_is_done_once",
    ),
    planted(
        6,
        "a new leader knows of no lease that is held",
        DESK,
        "            for job_id, token, granted_ms in self._queue.leases():",
        "            for job_id, token, granted_ms in ():",
        WAITING + "test_every_held_job_has_a_deadline_after_an_election",
    ),
    planted(
        7,
        "a key is held across topics",
        KEYS,
        "        job_id = self._keys.get((put.topic, put.dedupe_key))",
        "        job_id = next((i for (_, k), i in self._keys.items() if k == put.dedupe_key), None)",
        BOUNDS + "test_a_dedupe_key_gives_the_id_of_the_job_that_is_there",
    ),
    planted(
        7,
        "the window never ends",
        KEYS,
        "if done is not None and now - done.finished_ms < self._window_ms:",
        "if done is not None:",
        BOUNDS + "test_a_dedupe_key_of_a_job_that_was_done_is_refused_within_its_window",
    ),
    planted(
        7,
        "a job that was called off keeps its key",
        BOOK,
        "        if state == CANCELLED:\n            self.keys.forget(done)",
        "        if False:\n            self.keys.forget(done)",
        BOUNDS + "test_a_dedupe_key_is_free_again_when_its_job_was_cancelled",
    ),
    planted(
        8,
        "a timeout is counted as a nack",
        QUEUE,
        "            job.timeouts += 1\n",
        "            job.nacks += 1\n",
        LEASES + "test_a_job_is_buried_with_its_reasons_after_the_last_attempt",
    ),
    planted(
        8,
        "only a nack waits for the back-off",
        QUEUE,
        "        if delay_ms is None:  # a worker",
        '        if delay_ms is None and event != "nack":\n            delay_ms = 0\n'
        "        if delay_ms is None:  # a worker",
        WAITS + "test_a_poisoned_job_waits_between_attempts_however_they_fail",
    ),
    planted(
        8,
        "every wait is as long as the first",
        BACKOFF,
        "base_ms << min(attempts - 2, LONGEST_SHIFT)",
        "base_ms",
        WAITS + "test_each_failed_attempt_waits_twice_as_long_as_the_one_before_up_to_ten_minutes",
    ),
    planted(
        8,
        "all jobs wait equally long",
        BACKOFF,
        '(crc32(b"%d %d" % (job_id, attempts)) % 1024)',
        "512",
        WAITS + "test_jobs_that_failed_together_do_not_come_back_together",
    ),
    planted(
        9,
        "the time of the put counts for nothing",
        JOB,
        "return created_ms + priority * ageing_ms if",
        "return priority * ageing_ms if",
        WAITS + "test_with_ageing_a_patient_job_is_served_within_its_priority_times_the_step",
    ),
    planted(
        9,
        "jobs that do not age come before those that do",
        LINES,
        "    return plain if place < (aged.rank, aged.id) else aged",
        "    return plain",
        WAITS + "test_jobs_that_do_not_age_starve_no_job_that_does",
    ),
    planted(
        9,
        "every job of a topic that ages does so",
        BOOK,
        ".ageing_ms if put.ages else 0",
        ".ageing_ms",
        WAITS + "test_jobs_that_do_not_age_go_by_priority_alone_however_long_they_wait",
    ),
    planted(
        10,
        "a worker is given what it cannot do where other jobs stand beside it",
        LINES,
        "            if has is not None and not has.issuperset(needs):",
        "            if False:",
        NEEDS + "test_what_a_worker_cannot_do_it_is_given_neither_beside_other_jobs_nor_from_several_topics",
    ),
    planted(
        10,
        "a worker is given what it cannot do where all jobs of the topic need the same",
        LINES,
        "        if needs and not has.issuperset(needs):",
        "        if False:",
        NEEDS + "test_a_job_is_given_only_to_a_worker_that_has_all_it_needs",
    ),
    planted(
        10,
        "who stands first and cannot do the job holds up the others",
        DESK,
        "                if self._free(topic, waiter.has, now_ms) > 0:\n                    return waiter\n",
        "                return waiter if self._free(topic, waiter.has, now_ms) > 0 else None\n",
        NEEDS + "test_who_waits_longer_but_cannot_do_the_job_holds_up_nobody",
    ),
    planted(
        10,
        "the leader counts jobs that the worker cannot do",
        QUEUE,
        "ready = line.ready.count(has) if line.needs else line.counts[READY]",
        "ready = line.counts[READY]",
        NEEDS + "test_a_leader_counts_as_available_only_what_the_worker_can_do",
    ),
    planted(
        11,
        "a job that comes back stands behind later ones",
        JOB,
        "return rank_of(self.priority, self.created_ms, self.ageing_ms)\n",
        "return rank_of(self.priority * 1_000 + self.reserves, self.created_ms, self.ageing_ms)\n",
        ORDER + "test_a_job_keeps_its_place_after_a_delay_a_nack_and_a_kick",
    ),
    planted(
        12,
        "a leader stamps what its own clock says",
        REPLICA,
        "        return milliseconds if milliseconds > self.floor else self.floor",
        "        return int(now * 1000)",
        TIME + "test_what_a_leader_stamps_never_runs_backwards_though_its_clock_does",
    ),
    planted(
        13,
        "one job more than the bound fits",
        BOOK,
        "if len(self.jobs) + len(puts) > most_jobs:",
        "if len(self.jobs) > most_jobs:",
        BOUNDS + "test_the_bound_on_jobs_is_decided_in_apply_and_gone_when_a_job_is",
    ),
    planted(
        13,
        "whoever looks at a waiting job makes it twice as large",
        "replicated_queue/queue/jobs.py",
        "        return self._record(job_id, job) if isinstance(job, tuple) else job\n",
        "        return self.get(job_id)\n",
        "tests/replicated_queue/test_waiting_jobs.py::test_looking_at_jobs_leaves_them_as_small_as_they_were",
    ),
    planted(
        13,
        "what a topic's jobs wish alike is kept when they are gone",
        "replicated_queue/queue/jobs.py",
        "        self._usual.pop(topic, None)\n",
        "        pass\n",
        "tests/replicated_queue/test_waiting_jobs.py::"
        "test_of_topics_that_came_and_went_nothing_is_kept_with_the_jobs",
    ),
    planted(
        13,
        "a job has the wishes of the first of its topic",
        "replicated_queue/queue/jobs.py",
        "        if wishes == usual:\n",
        "        if usual:\n",
        "tests/replicated_queue/test_waiting_jobs.py::"
        "test_each_job_has_what_its_own_put_wished_for_whatever_others_of_its_topic_did",
    ),
    planted(
        13,
        "jobs that come from a snapshot are twice as large",
        "replicated_queue/queue/jobs.py",
        "            self.keep_waiting(job.id, job.topic, job.data, job.priority, job.created_ms, wishes)\n",
        "            self._kept[job.id] = job\n",
        "tests/replicated_queue/test_waiting_jobs.py::"
        "test_a_long_queue_is_nothing_to_the_garbage_collector_also_when_it_comes_from_a_snapshot",
    ),
    planted(
        13,
        "a job that was given back is taken for one that was never held when it comes from a snapshot",
        "replicated_queue/queue/jobs.py",
        "if job.state != READY or job.reserves or",
        "if job.state != READY or",
        "tests/replicated_queue/test_snapshots_of_state.py::"
        "test_a_restored_state_is_equal_and_does_the_same_with_all_that_follows",
    ),
    planted(
        13,
        "any number of topics fits",
        BOOK,
        "if new_topics and len(self.topics)",
        "if False and len(self.topics)",
        BOUNDS + "test_topics_with_jobs_are_bounded_and_the_platform_has_room_for_its_own",
    ),
    planted(
        13,
        "reasons are kept and not counted",
        BOOK,
        "        self._grow(job, sum(map(text_bytes, job.reasons)) - before)\n",
        "",
        BOUNDS + "test_all_that_somebody_chose_the_length_of_counts_towards_the_bound_on_bytes",
    ),
    planted(
        13,
        "a topic's own bound on bytes is not looked at",
        BOOK,
        "if settings.max_bytes and topic.used_bytes",
        "if False and topic.used_bytes",
        TOPICS + "test_a_topic_holds_no_more_bytes_than_its_own_bound",
    ),
    planted(
        14,
        "answers pile up for who does not read them",
        "replicated_queue/client_reads.py",
        "                        await self._may_write.wait()\n",
        "                        pass\n",
        TESTS + "test_slow_readers.py::test_a_client_that_reads_no_answers_is_cut_off_and_others_are_served",
    ),
    planted(
        14,
        "any number of proposals are taken in",
        SERVICE,
        "len(self._proposals) >= settings.max_uncommitted_proposals",
        "False",
        TESTS + "test_three_services.py::test_a_leader_with_too_much_in_flight_is_busy_and_did_nothing",
    ),
    planted(
        15,
        "a bury that is repeated is refused",
        QUEUE,
        "if job is not None and job.buried_token and job.buried_token == command.token:",
        "if False:",
        LEASES + "test_a_bury_that_its_worker_repeats_is_done_already_and_anybody_elses_is_refused",
    ),
    planted(
        15,
        "anybody removes a job that is held",
        QUEUE,
        "if job.state == LEASED and not command.force and job.token != command.token:",
        "if False:",
        LEASES + "test_a_leased_job_is_cancelled_only_by_its_holder_or_by_force",
    ),
    planted(
        15,
        "a drained topic takes jobs",
        BOOK,
        "            if settings.is_draining:\n",
        "            if False:\n",
        TOPICS + "test_a_drained_topic_takes_no_new_jobs_and_gives_out_those_it_has",
    ),
    planted(
        16,
        "the newest buried job is dropped",
        BOOK,
        "            self._drop(next(iter(self.buried)))",
        "            self._drop(next(reversed(self.buried)))",
        BOUNDS + "test_buried_jobs_are_bounded_and_the_oldest_is_dropped",
    ),
    planted(
        16,
        "buried jobs stay for ever",
        QUEUE,
        "            self._book.drop_old_buried()\n",
        "            pass\n",
        BOUNDS + "test_a_buried_job_that_nobody_looks_after_is_dropped_when_it_is_too_old",
    ),
    planted(
        17,
        "finished jobs are never forgotten",
        FINISHED,
        "while len(self._jobs) > self._max_jobs or",
        "while False or",
        LEASES + "test_a_job_that_is_long_forgotten_is_not_found",
    ),
    planted(
        17,
        "results may take any room",
        FINISHED,
        " or self._bytes > self._max_bytes:",
        ":",
        BOUNDS + "test_results_of_finished_jobs_are_bounded_by_their_bytes",
    ),
    planted(
        18,
        "a snapshot is put together again in one go",
        CORE + "carried.py",
        "            if place % JOBS_A_STEP == 0:\n",
        "            if False:\n",
        TESTS
        + "test_snapshots_of_state.py::test_a_large_state_comes_in_short_steps_and_so_does_its_restoration",
    ),
    planted(
        18,
        "all jobs that are due become ready by one command",
        BOOK,
        "                most -= 1\n",
        "",
        TESTS + "test_delayed_jobs.py::"
        "test_many_jobs_that_become_due_at_once_are_made_ready_by_many_commands",
    ),
    planted(
        18,
        "the hash of the state is made in one step",
        BOOK,
        "            if place % HASHED_A_STEP == 0:\n",
        "            if not place:\n",
        TESTS + "test_digests.py::test_the_hash_of_the_state_is_made_in_steps_of_some_rows",
    ),
    planted(
        7,
        "the hash of the state says nothing of dedupe keys",
        BOOK,
        "yield job.row(), self.keys.holds(job)",
        "yield job.row()",
        TESTS + "test_digests.py::test_the_hash_of_the_state_says_who_holds_a_dedupe_key",
    ),
    planted(
        19,
        "an ended lease is extended",
        TABLE,
        "if held is None or held[0] != token or job_id in self._ending:",
        "if held is None or held[0] != token:",
        MEMORY + "test_a_lease_whose_end_is_on_its_way_is_not_extended_and_its_expiry_is_asked_again",
    ),
    planted(
        19,
        "a finished job is as unknown as one that never was",
        QUEUE,
        "            raise AlreadyDone(job_id=job_id, state=done.state)\n",
        "            pass\n",
        LEASES + "test_an_ack_that_comes_twice_hears_that_the_job_is_done",
    ),
    planted(
        20,
        "a reserve is logged though nothing is ready",
        DESK,
        "if request.repeated or is_asked_by_id or self._finds_free(reservation, now_ms):",
        "if True:",
        WAITING + "test_nothing_enters_the_log_while_reserves_wait",
    ),
)
