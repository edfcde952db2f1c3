"""Bugs somebody could write into releases, rollouts and builds."""

from tests.mutants.mutant import Mutant

COMMAND = "tests/pinode/test_plan_release_command.py::"
ROLLOUT = "tests/pinode/test_plan_rollout.py::"
RESTART = "tests/pinode/test_plan_restart.py::"
MEMORY = "tests/pinode/test_plan_short_memory.py::"
RELEASES = "tests/pinode/test_registry_releases.py::"
BUILDS = "tests/pinode/test_registry_builds.py::"
DYNO = "tests/pinode/test_once_dyno.py::"
PLAN, CHANGES = "pinode/scheduler/plan.py", "pinode/apps/release_changes.py"
PLACEMENTS, BUILD_CHANGES = "pinode/apps/placement_changes.py", "pinode/apps/build_changes.py"


def planted(line: str, what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line=line, what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    Mutant(
        line="hostile 7",
        what="a change that was allowed for one app lands in the next one of its name",
        file="pinode/apps/registry.py",
        old="self._tables.app(name, created_index=command.created_index)",
        new="self._tables.app(name)",
        test="tests/pinode/test_very_app.py::"
        "test_what_was_allowed_for_one_app_is_not_done_to_the_next_of_its_name",
    ),
    planted(
        "renaming",
        "a new app shares logs and user with a renamed one that began with its name",
        "pinode/apps/app_changes.py",
        "is_taken = any(app.folder_name == name for app in tables.apps)",
        "is_taken = name in tables.apps",
        "tests/pinode/test_renaming.py::test_no_two_apps_ever_share_a_folder",
    ),
    planted(
        "renaming",
        "a request that waits at an app's port is lost when the app is renamed",
        "pinode/router/exchange.py",
        "        if self._app_port is not None:  # it may have been renamed since\n",
        "        if False:\n",
        "tests/pinode/test_renaming.py::"
        "test_a_request_that_waits_at_the_apps_port_is_answered_under_the_new_name",
    ),
    planted(
        "app.json",
        "a deploy sets again what was unset, because app.json gives it",
        BUILD_CHANGES,
        "if app.last_version > 0 or not command.first_config:",
        "if not command.first_config:",
        "tests/pinode/test_registry_apps.py::test_what_was_unset_after_the_first_release_is_not_set_again",
    ),
    planted(
        "app.json",
        "app.json overrides a config var that somebody has set",
        BUILD_CHANGES,
        "{**command.first_config, **app.config.values}",
        "{**app.config.values, **command.first_config}",
        "tests/pinode/test_registry_apps.py::test_the_first_release_takes_the_first_config_where_nothing_is_set",
    ),
    planted(
        "app.json",
        "a health check that is a command passes however it ends",
        "pinode/dynos/check_command.py",
        "        if code == 0:",
        "        if code is not None:",
        "tests/pinode/test_health_checks.py::"
        "test_a_check_that_is_a_command_runs_with_the_dynos_files_environment_and_port",
    ),
    planted(
        "apps 3",
        "two builds of one app run at once after a cancellation",
        BUILD_CHANGES,
        '        if build.state == "building":\n            self._tables.put_build(build)\n        else:\n',
        "        if True:\n",
        BUILDS + "test_a_build_that_runs_is_cancelled_when_its_worker_says_that_nothing_of_it_runs",
    ),
    planted(
        "apps 3",
        "a cancelled build is released when it ended just before",
        BUILD_CHANGES,
        "        if build.cancelled_by is not None:\n            self._cancelled(build, index=index, now=now)\n            return 0\n",
        "",
        BUILDS + "test_nothing_comes_of_a_build_that_ended_just_after_it_was_cancelled[complete]",
    ),
    planted(
        "apps 10",
        "releases that fail push out those that can be rolled back to",
        CHANGES,
        "    served = [release for release in ended if release.has_served][:RELEASES_KEPT]\n",
        "    served = [release for release in ended[:NEVER_SERVED_KEPT] if release.has_served]\n",
        RELEASES + "test_releases_that_fail_do_not_push_out_those_that_can_be_rolled_back_to",
    ),
    planted(
        "releases",
        "a rollback leaves the newer config with the app",
        CHANGES,
        "    app = tables.change_app(app.name, config=old.config)\n",
        "",
        RELEASES + "test_a_rollback_is_a_new_release_of_the_old_code_config_and_process_types",
    ),
    planted(
        "releases",
        "a release command that has begun moves to another node",
        PLACEMENTS,
        'release.state == "live" or release.command_state != "waiting"',
        'release.state == "live"',
        COMMAND + "test_it_is_started_once",
    ),
    planted(
        "releases",
        "a release command on a dead node is waited for for ever",
        PLAN,
        "                if self._is_gone(placement.node_id):\n                    failure",
        "                if False:\n                    failure",
        COMMAND + "test_a_node_that_dies_while_it_runs_fails_the_release_and_nobody_runs_it_again",
    ),
    planted(
        "releases",
        "a release command is cut off by a newer release",
        PLACEMENTS,
        "if version is None or (placement.version == version and not is_running_command(tables, placement)):",
        "if version is None or placement.version == version:",
        COMMAND + "test_a_newer_release_lets_a_command_that_runs_come_to_its_end_and_runs_its_own_after_it",
    ),
    planted(
        "releases",
        "an end that nobody saw counts as a good one",
        "pinode/dynos/once_dyno.py",
        "        if exit_code is None:\n            return self._conclude(self._command.unknown)\n",
        "        if exit_code is None:\n            return self._conclude(None)\n",
        DYNO + "test_an_end_that_nobody_saw_is_unknown_and_not_taken_for_a_good_one",
    ),
    planted(
        "apps 11",
        "old dynos end while routes still lead to them",
        PLAN,
        "            due_ms = self._memory.live_since(app.name, live.version) + DRAIN_GRACE_MS\n",
        "            due_ms = self._memory.live_since(app.name, live.version)\n",
        ROLLOUT + "test_old_dynos_end_only_when_the_routes_have_left_them",
    ),
    planted(
        "apps 11",
        "where memory is short, an old dyno that gave way is placed again",
        PLAN,
        "if slot in covered or (most is not None and most <= 0):",
        "if most is not None and most <= 0:",
        MEMORY + "test_never_more_than_one_dyno_too_many_and_never_none_of_the_old_release",
    ),
    planted(
        "apps 11",
        "all dynos of a type are restarted at once",
        PLAN,
        "if marked and not any(self._is_starting(one) for one in dynos if not one.is_to_restart):",
        "if marked:",
        RESTART + "test_of_each_type_one_is_replaced_and_the_next_when_it_is_no_longer_starting",
    ),
)
