"""Bugs somebody could write into who is in the cluster: joining, leaving, removing."""

from tests.mutants.mutant import Mutant

TABLE, JOINING, PLAN = "pinode/nodes/node_table.py", "pinode/peers/joining.py", "pinode/scheduler/plan.py"
OF_TABLE, OF_JOINING = "tests/pinode/test_node_table.py::", "tests/pinode/test_joining.py::"
OF_EMPTYING, OF_DEPARTURE = "tests/pinode/test_plan_emptying.py::", "tests/pinode/test_departure.py::"
OF_LEVELS = "tests/pinode/test_feature_level.py::"
OF_STANDING = "tests/pinode/test_standing.py::"
ROTATION = "pinode/nodes/key_rotation.py"
OF_ROTATION = "tests/pinode/test_key_rotation.py::"
OF_HELD = "tests/pinode/test_held_keys.py::"
OF_DOOR = "tests/pinode/test_key_door.py::"


def planted(line: str, what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line=line, what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        "consensus 24",
        "a removed id is registered again",
        TABLE,
        "        if removed is not None:\n            raise NodeWasRemoved",
        "        if removed is not None and False:\n            raise NodeWasRemoved",
        OF_TABLE + "test_a_removed_node_never_comes_back_and_its_name_is_free",
    ),
    planted(
        "consensus 24",
        "a removed node may still ask what is open to holders of the key",
        "pinode/peers/standing.py",
        "        if (removed := self.why_removed(peer)) is not None:\n            return removed\n",
        "",
        OF_STANDING + "test_a_removed_node_is_told_so_on_every_lane_and_to_founding_too",
    ),
    planted(
        "consensus 24",
        "what a removed node holds open goes on",
        "pinode/peers/links.py",
        "                connection.write(removed)\n                connection.close()\n",
        "                pass\n",
        OF_STANDING + "test_who_is_removed_while_its_links_are_open_is_told_and_cut_off",
    ),
    planted(
        "consensus 25",
        "a successor that is refused has its predecessor removed all the same",
        TABLE,
        "        if holder not in (None, before, replaced):\n            raise NodeNameTaken",
        "        if replaced is not None:\n            self._forget(replaced, by='', now=now)\n"
        "        if holder not in (None, before, replaced):\n            raise NodeNameTaken",
        OF_TABLE + "test_a_successor_that_is_refused_leaves_its_predecessor_in_place",
    ),
    planted(
        "consensus 25",
        "a newcomer takes the place of a node that is there",
        "pinode/admission.py",
        "or meant.node_id == member.node_id or not self._is_gone(meant.node_id):",
        "or meant.node_id == member.node_id:",
        OF_JOINING + "test_a_name_that_is_taken_is_refused_with_the_address_of_the_other",
    ),
    planted(
        "consensus 26",
        "a removal that leaves one of two voters in reach is let through",
        "pinode/operations/membership.py",
        "    if 2 * len(in_reach) > len(voters):",
        "    if 2 * len(in_reach) >= len(voters):",
        OF_DEPARTURE + "test_no_node_goes_that_would_take_the_majority_with_it",
    ),
    planted(
        "hostile 8",
        "a token is good in the moment in which it expires",
        TABLE,
        "        return token is not None and now < token.expires_at_ms",
        "        return token is not None and now <= token.expires_at_ms",
        OF_TABLE + "test_one_token_lets_several_nodes_join_until_it_expires",
    ),
    planted(
        "hostile 8",
        "who claims a member's id is given the cluster key for any token",
        TABLE,
        "        if command.token_hash is not None and not self.is_good(command.token_hash, now):",
        "        if command.token_hash is not None and command.node_id not in self._nodes and not self.is_good(\n"
        "            command.token_hash, now\n        ):",
        OF_TABLE + "test_a_wrong_token_is_refused_also_for_a_node_that_is_registered",
    ),
    planted(
        "hostile 8",
        "a joiner trusts whoever shows the authority's certificate",
        JOINING,
        "public_key_hash(pem) == token.authority_hash and is_issued_by_peer_authority(shown, pem)",
        "public_key_hash(pem) == token.authority_hash",
        OF_JOINING + "test_a_stranger_that_shows_our_authority_without_its_key_is_told_nothing",
    ),
    planted(
        "hostile 8",
        "a joiner tells its secret to whichever cluster answers",
        JOINING,
        "    if not is_ours:\n        raise AnotherCluster(address)",
        "    del is_ours",
        OF_JOINING + "test_a_token_of_another_cluster_is_never_told_to_this_one",
    ),
    planted(
        "hostile 8",
        "every guess of a secret becomes an entry in the log",
        "pinode/admission.py",
        "        if not self._cluster.state.nodes.is_good(token_hash, self._cluster.now_ms):",
        "        if False:",
        OF_JOINING + "test_a_wrong_secret_is_refused_without_an_entry_in_the_log",
    ),
    planted(
        "hostile 8",
        "a request to join may be of any size",
        "pinode/peers/join_door.py",
        "        connection.limit_frames(MAX_REQUEST_BYTES)\n",
        "",
        OF_JOINING + "test_an_oversize_request_is_cut_off_before_it_is_read",
    ),
    planted(
        "apps 11",
        "a web dyno ends before the one that takes its place is up",
        PLAN,
        'slot, is_web = (process_type, leaving[0].ordinal), process_type == "web"',
        "slot, is_web = (process_type, leaving[0].ordinal), False",
        OF_EMPTYING
        + "test_a_web_dyno_serves_until_the_one_that_takes_its_place_is_up_and_routed_to[drained]",
    ),
    planted(
        "apps 12",
        "a worker runs twice while its node is emptied",
        PLAN,
        'slot, is_web = (process_type, leaving[0].ordinal), process_type == "web"',
        "slot, is_web = (process_type, leaving[0].ordinal), True",
        OF_EMPTYING + "test_a_worker_is_never_one_too_many",
    ),
    planted(
        "apps 11",
        "all dynos of a node that is emptied start anew at once",
        PLAN,
        "            if leaving and not any(self._is_starting(one) for one in dynos if one not in leaving):",
        "            if leaving:",
        OF_EMPTYING + "test_of_many_dynos_one_moves_when_the_last_is_up",
    ),
    planted(
        "departure",
        "a node's vote goes before its dynos",
        "pinode/operations/departure.py",
        '        await self._set("drained")\n        await self._until(self._what_is_here, self._drain_seconds)\n',
        "",
        OF_DEPARTURE + "test_its_dynos_move_before_its_vote_goes",
    ),
    planted(
        "departure",
        "a node is struck off that never said it leaves",
        "pinode/operations/departure.py",
        '        if node.availability != "leaving":',
        "        if False:",
        OF_DEPARTURE + "test_nobody_is_struck_off_that_is_not_leaving",
    ),
    planted(
        "departure",
        "a node that was switched off while it left can neither go nor stay",
        "pinode/operations/departure.py",
        "        if await self._is_struck_off():\n            return  # it",
        "        if False:\n            return  # it",
        OF_DEPARTURE + "test_a_node_that_was_switched_off_while_it_left_goes_on_where_it_was",
    ),
    planted(
        "departure",
        "a node that was left behind before it heard that it may go stays for ever",
        "pinode/operations/departure.py",
        "        with contextlib.suppress(QueueError, TimeoutError):\n            # The group",
        "        with contextlib.nullcontext():\n            # The group",
        OF_DEPARTURE + "test_a_node_that_does_not_hear_that_it_may_go_asks_the_others",
    ),
    planted(
        "consensus 40",
        "a node that is too old joins a cluster that was upgraded",
        TABLE,
        "        if command.feature_level < self.feature_level:",
        "        if False:",
        OF_LEVELS
        + "test_an_older_program_may_not_join_and_hears_what_to_do "
        + OF_LEVELS
        + "test_the_level_never_falls_whatever_happens_to_the_nodes",
    ),
    planted(
        "consensus 40",
        "a program applies what comes after its time",
        "pinode/cluster_state.py",
        "        if self.nodes.feature_level > self._feature_level:",
        "        if False:",
        OF_LEVELS + "test_a_node_that_is_set_back_to_an_older_program_ends_and_keeps_what_it_holds",
    ),
    planted(
        "consensus 40",
        "a command enters the log that an older node could not apply",
        "pinode/live_cluster.py",
        "        if needed <= nodes.feature_level:",
        "        if True:",
        OF_LEVELS + "test_what_is_new_waits_until_the_last_node_is_upgraded",
    ),
    planted(
        "5.8",
        "a node removed while the new key is given out may keep it",
        ROTATION,
        '    if rotation.stage == "install":\n        return replace(rotation, stage="wanted", mark="", ready=(), entitled=())\n',
        "",
        OF_ROTATION
        + "test_a_node_that_is_removed_while_the_key_is_given_out_may_have_it_and_another_is_drawn",
    ),
    planted(
        "5.8",
        "the old key goes before all in reach use the new one",
        ROTATION,
        '    if rotation.stage not in ("install", "use"):\n        return []',
        '    if rotation.stage != "install":\n        return []',
        OF_ROTATION + "test_the_leader_draws_a_key_waits_for_all_in_reach_and_goes_on",
    ),
    planted(
        "5.8",
        "who holds the old key is let in as a new node, and given the new one",
        TABLE,
        "        if before is None and self._is_rotating:",
        "        if False:",
        OF_ROTATION + "test_whoever_holds_the_old_key_is_not_let_in_as_a_new_node_to_get_the_new_one",
    ),
    planted(
        "5.8",
        "a token that names the old key's authority stays good",
        TABLE,
        "        self._tokens = {}  # they name the old key's authority, for which its holders can pass\n",
        "",
        OF_ROTATION + "test_tokens_given_out_before_are_worthless_and_none_is_made_until_it_is_over",
    ),
    planted(
        "5.8",
        "a node that was off loses what was sealed before the rotation",
        "pinode/peers/held_keys.py",
        "        older = (derived(self.in_use).data_key, *self.older_data_keys)",
        "        older = self.older_data_keys",
        OF_HELD + "test_what_was_sealed_before_there_were_rotations_opens_ever_after",
    ),
    planted(
        "5.8",
        "the key in use is on the disk before what is beside it",
        "pinode/peers/key_store.py",
        "    for key in held.all:\n",
        "    for key in held.all[:1]:\n",
        OF_HELD + "test_after_every_write_of_a_rotation_a_start_finds_the_step_before_it_or_after_it",
    ),
    planted(
        "5.8",
        "a proof made for one node is worth something at another",
        "pinode/peers/key_door.py",
        "        key.verify(signature, _signed(own_id, challenge, marks, generation))\n",
        "",
        OF_DOOR + "test_a_proof_that_was_made_for_something_else_proves_nothing",
    ),
    planted(
        "5.8",
        "keys are taken from whoever answers at a member's address",
        "pinode/peers/key_door.py",
        "            if expected not in (None, there):",
        "            if False:",
        OF_DOOR + "test_keys_are_taken_from_the_node_that_was_meant_alone",
    ),
    planted(
        "5.8",
        "a router goes on believing the old authority",
        "pinode/router/listeners.py",
        'lambda secured, name, _: setattr(secured, "context", newest)',
        "lambda secured, name, _: None",
        "tests/pinode/test_router_routes.py::"
        "test_after_a_rotation_routers_of_the_new_authority_are_heard_at_the_open_port_and_others_not",
    ),
)
