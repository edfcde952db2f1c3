"""Bugs somebody could write into the fetching of slugs, each with the test that says so."""

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        line="slugs 6",
        what="Go programs are compiled for the machine that builds them",
        file="builders/go.py",
        old="**({} if own else GO_NAMES.get(machine, {}))",
        new="**{}",
        test="tests/builders/test_go.py::"
        "test_a_program_is_compiled_for_the_machines_that_run_it_not_for_the_one_that_builds",
    ),
    Mutant(
        line="slugs 1",
        what="what a holder that died owed is asked of nobody",
        file="pinode/slugs/fetch_plan.py",
        old="self._missing |= owed - {",
        new="self._missing |= owed & {",
        test="tests/pinode/test_fetch_plan.py::test_what_a_dead_holder_owed_is_asked_of_another",
    ),
    Mutant(
        line="slugs 2",
        what="a holder is accused of what lay on the disk before",
        file="pinode/slugs/fetch_plan.py",
        old="if FROM_BEFORE in delivered:",
        new="if False:",
        test="tests/pinode/test_slug_fetch.py::test_wrong_bytes_from_before_the_restart_are_fetched_anew",
    ),
    Mutant(
        line="slugs 3",
        what="after a power cut a chunk is believed that never reached the disk",
        file="pinode/slugs/partial_slug.py",
        old="and self._crc(chunk) == crc}",
        new="}",
        test="tests/pinode/test_partial_slug.py::"
        "test_a_chunk_that_never_reached_the_disk_is_missing_after_a_power_cut",
    ),
    Mutant(
        line="slugs 4",
        what="a slug is kept because all its chunks came",
        file="pinode/slugs/partial_slug.py",
        old="if found != digest:",
        new="if not found:",
        test="tests/pinode/test_slug_fetch.py::"
        "test_a_holder_whose_bytes_are_wrong_is_found_out_and_the_slug_is_right",
    ),
    Mutant(
        line="slugs 5",
        what="an idle node does not help a slow holder",
        file="pinode/slugs/fetch_plan.py",
        old="self._missing_run() or self._overdue_chunk(now)",
        new="self._missing_run()",
        test="tests/pinode/test_slug_fetch.py::test_a_holder_that_falls_silent_is_not_waited_for",
    ),
    Mutant(
        line="slugs 7",
        what="a slug is placed on nodes that lack its interpreter",
        file="pinode/apps/slug_kinds.py",
        old="slug.interpreter is None or",
        new="True or slug.interpreter is None or",
        test="tests/pinode/test_plan_placing.py::"
        "test_a_slug_goes_where_its_interpreter_is_and_to_nodes_of_each_cpu_it_is_for",
    ),
    Mutant(
        line="slugs 7",
        what="a Python app with machine code says that it runs on any CPU",
        file="builders/__main__.py",
        old="if built.is_as_sent or not found else",
        new="if built.is_as_sent else () if found else",
        test="tests/builders/test_machine_code.py::"
        "test_a_python_app_is_for_any_cpu_unless_it_has_machine_code_and_for_one_interpreter",
    ),
    Mutant(
        line="slugs 8",
        what="a further slug of another commit is taken",
        file="pinode/apps/variant_changes.py",
        old="if commit != build.commit:",
        new="if not commit:",
        test="tests/pinode/test_registry_variants.py::"
        "test_a_variant_of_another_commit_is_refused_and_its_build_goes_on",
    ),
    Mutant(
        line="slugs 8",
        what="a deploy waits for a further slug that is being built",
        file="pinode/apps/build_changes.py",
        old="elif build.variant_of is not None:",
        new="elif False:",
        test="tests/pinode/test_registry_variants.py::"
        "test_a_deploy_ends_the_variant_that_runs_and_waits_only_until_that_is_done",
    ),
    Mutant(
        line="slugs 8",
        what="the source of what serves is forgotten when something newer was sent",
        file="pinode/apps/source_changes.py",
        old="if build.id in wanted or not build.is_finished",
        new="if not build.is_finished",
        test="tests/pinode/test_registry_variants.py::test_a_source_is_kept_while_"
        "the_release_made_of_it_serves_and_the_last_push_is_what_deploy_repeats",
    ),
    Mutant(
        line="slugs 8",
        what="a further slug that cannot be built is tried again at once, for ever",
        file="pinode/apps/slug_gaps.py",
        old="due_ms=(ended[0].finished_at_ms or 0) + patience_ms",
        new="due_ms=0 * patience_ms",
        test="tests/pinode/test_variant_plan.py::test_one_that_failed_is_tried_again_later_and_later",
    ),
    Mutant(
        line="slugs 8",
        what="a further slug is given to any worker",
        file="pinode/apps/build.py",
        old="return abilities(self.arch, self.interpreters) if self.variant_of is not None else ()",
        new="return ()",
        test="tests/pinode/test_registry_variants.py::"
        "test_only_a_worker_on_a_node_of_that_kind_gets_the_job_and_after_what_people_wait_for",
    ),
    Mutant(
        line="slugs 8",
        what="a rollback forgets the slugs for other nodes",
        file="pinode/apps/release_changes.py",
        old="        variants=old.variants,\n",
        new="",
        test="tests/pinode/test_registry_variants.py::"
        "test_what_a_release_has_slugs_for_its_later_config_changes_and_rollbacks_have_too",
    ),
    Mutant(
        line="slugs 8",
        what="a dyno waits for ever on a node whose new system lacks what its slug needs",
        file="pinode/scheduler/plan.py",
        old="elif self._is_stranded(release, present):",
        new="elif False:",
        test="tests/pinode/test_plan_placing.py::"
        "test_where_no_node_has_it_any_more_the_dyno_waits_for_a_slug_and_comes_back_with_it",
    ),
    Mutant(
        line="slugs 8",
        what="a dyno that crashed of its slug never looks for the one that was built for its node since",
        file="pinode/dynos/guest.py",
        old="digest_for(self.launch, self._premises.cluster)\n        self.launch",
        new="self.launch.slug_digest\n        self.launch",
        test="tests/pinode/test_dyno_supervisor.py::"
        "test_a_dyno_that_its_slug_does_not_fit_is_started_at_once_from_one_that_does_when_there_is_one",
    ),
    Mutant(
        line="slugs 8",
        what="a dyno that failed waits out its five minutes although a slug for its node is there",
        file="pinode/dynos/supervisor.py",
        old="guest.look_for_slug()",
        new="pass",
        test="tests/pinode/test_dyno_supervisor.py::"
        "test_a_dyno_that_its_slug_does_not_fit_is_started_at_once_from_one_that_does_when_there_is_one",
    ),
)
