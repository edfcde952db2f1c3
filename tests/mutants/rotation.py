"""Bugs somebody could write into the rotation of the cluster key, and into what it protects."""

from tests.mutants.mutant import Mutant

LIVE, KEYS = "pinode/live_cluster.py", "pinode/peers/keys.py"
OF_SEALS = "tests/pinode/test_seals_after_rotation.py::"
JOINING, RECOVERY = "pinode/peers/joining.py", "pinode/card/recovery.py"
OF_REJOIN, OF_RECOVER = "tests/pinode/test_rejoin.py::", "tests/pinode/test_recover.py::"
ROTATION, TABLE = "pinode/nodes/key_rotation.py", "pinode/nodes/node_table.py"
OF_ROTATION = "tests/pinode/test_key_rotation.py::"
OF_HELD = "tests/pinode/test_held_keys.py::"


def planted(what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line="rotation", what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        "a node that was cut off seals by the key that was rotated away",
        LIVE,
        "            await self._wait_for_key(timeout_seconds)\n",
        "",
        OF_SEALS + "test_a_node_that_was_cut_off_meanwhile_lets_no_value_into_the_log_by_the_old_key",
    ),
    planted(
        "a node that has heard nothing takes its key for the one that counts",
        LIVE,
        "if is_current and not self.state.nodes.was_rotated_away",
        "if not self.state.nodes.was_rotated_away",
        OF_SEALS + "test_without_a_majority_a_value_is_refused_and_not_kept_for_later",
    ),
    planted(
        "a value that was sealed early enters the log as it is",
        LIVE,
        "            command = with_sealed(command, self._sealed_anew)\n",
        "",
        OF_SEALS + "test_a_value_sealed_before_the_rotation_and_agreed_on_after_it_is_sealed_anew",
    ),
    planted(
        "the data key is the first one for ever",
        KEYS,
        "        return derived(self._held.in_use).data_key\n",
        "        return self._held.data_keys[-1]\n",
        OF_SEALS
        + "test_a_removed_nodes_card_and_a_later_backup_open_nothing_that_was_set_after_the_rotation",
    ),
    planted(
        "a deploy key is not looked for",
        "pinode/apps/sealed_values.py",
        "        case SetDeployKey(sealed_key=bytes() as sealed):\n"
        "            return replace(command, sealed_key=change(sealed))\n",
        "",
        OF_SEALS + "test_each_sealed_value_of_a_command_is_found_and_can_be_another",
    ),
    planted(
        "the key that goes opens what lies beside the new one",
        "pinode/peers/key_store.py",
        " or len(_entries(self._file)) != len(held.all):",
        ":",
        OF_HELD + "test_a_file_with_an_entry_for_a_key_that_went_is_written_anew",
    ),
    planted(
        "who comes back by a token wants nobody's place",
        JOINING,
        "replaces=back.replaces if back else None",
        "replaces=None",
        OF_REJOIN + "test_who_comes_back_by_a_token_takes_the_place_of_who_it_was",
    ),
    planted(
        "who comes back by a token does not wait for its name",
        JOINING,
        "if rejected.is_passing or (back is not None and back.may_wait(rejected.code)):",
        "if rejected.is_passing:",
        OF_REJOIN + "test_who_comes_back_by_a_token_waits_until_its_old_self_is_known_to_be_gone",
    ),
    planted(
        "a copy of a card takes a running node's place by a token",
        JOINING,
        "        back.refuse_copy()\n",
        "        pass\n",
        OF_REJOIN + "test_a_copy_of_a_card_does_not_take_the_place_of_who_runs_by_a_token_either",
    ),
    planted(
        "a token of another cluster is passed over in silence",
        JOINING,
        "    if own == token.authority_hash:\n",
        "    if True:\n",
        "tests/pinode/test_joining.py::"
        "test_a_node_says_that_it_has_no_use_for_a_token_and_louder_for_one_of_another_cluster",
    ),
    planted(
        "a recovery does not see who holds a newer key",
        RECOVERY,
        "await who_answers(address) == node_id",
        "False",
        OF_RECOVER + "test_a_majority_answers_also_where_the_cluster_key_was_rotated_while_this_node_was_off",
    ),
    planted(
        "a recovery takes whoever answers for the voter",
        RECOVERY,
        "await who_answers(address) == node_id",
        "bool(await who_answers(address))",
        OF_RECOVER + "test_another_node_at_the_address_of_a_voter_is_not_taken_for_it",
    ),
    planted(
        "a recovered node waits for a key that nobody is left to give",
        TABLE,
        "            self._adopt_key(command, now=now)\n",
        "            return None\n",
        OF_ROTATION
        + "test_a_node_that_is_recovered_from_any_step_goes_on_with_its_key_and_can_rotate_again[40] "
        + OF_ROTATION
        + "test_a_node_that_is_recovered_from_any_step_goes_on_with_its_key_and_can_rotate_again[45]",
    ),
    planted(
        "one node says which key counts while others are there",
        TABLE,
        "        if rotation is None or len(self._nodes) > 1:\n",
        "        if rotation is None:\n",
        OF_ROTATION + "test_the_key_of_the_node_that_is_left_counts_also_where_another_had_taken_its_place",
    ),
    planted(
        "a key that a recovery went back to stays rotated away",
        TABLE,
        "return bool(told) and told[-1].previous == mark",
        "return any(one.previous == mark for one in told)",
        OF_ROTATION + "test_the_key_of_the_node_that_is_left_counts_also_where_another_had_taken_its_place",
    ),
    planted(
        "the key before the one a recovery went on with is believed again",
        ROTATION,
        "previous = rotation.previous if rotation.mark == command.mark else rotation.mark",
        "previous = rotation.mark",
        OF_ROTATION + "test_a_rotation_that_was_under_way_is_over_with_the_key_of_the_node_that_is_left",
    ),
    planted(
        "a recovery does not look which key the node holds",
        "pinode/cli/recover_command.py",
        ", keys=_keys_held(settings))",
        ")",
        OF_RECOVER + "test_the_key_that_the_node_holds_is_agreed_on_whatever_its_log_says_of_rotations",
    ),
)
