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
)
