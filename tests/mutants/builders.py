"""Bugs somebody could write into the builders and what bounds them, each with the test that says so."""

from tests.mutants.mutant import Mutant

MUTANTS = (
    Mutant(
        line="hostile 9",
        what="an app's own code sees the cache that all apps share",
        file="builders/steps.py",
        old="hidden = (self._request.cache, self._request.output)",
        new="hidden = (self._request.output,)",
        test="tests/pinode/test_build_process.py::"
        "test_an_apps_own_code_reaches_neither_the_shared_cache_nor_the_result_nor_the_builder",
    ),
    Mutant(
        line="hostile 9",
        what="an app's own code sees the processes of the builder",
        file="builders/walls.py",
        old='words += ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent"]',
        new='words += ["--unshare-user", "--die-with-parent"]',
        test="tests/pinode/test_build_process.py::"
        "test_an_apps_own_code_reaches_neither_the_shared_cache_nor_the_result_nor_the_builder",
    ),
    Mutant(
        line="apps 1",
        what="a build that forks is never found to run too many processes",
        file="pinode/deploy/build_usage.py",
        old="if processes > bounds.processes:",
        new="if processes > 100 * bounds.processes:",  # more than the kernel allows
        test="tests/pinode/test_build_process.py::test_a_build_past_a_bound_is_ended_and_says_which",
    ),
    Mutant(
        line="apps 1",
        what="a build's clock stands still while its files are counted",
        file="builders/command.py",
        old="waiting, timeout=self._seconds_left(), return_when=asyncio.FIRST_COMPLETED",
        new="waiting, return_when=asyncio.FIRST_COMPLETED",
        test="tests/builders/test_command.py::test_a_bound_is_kept_while_somebody_still_looks_for_another",
    ),
    Mutant(
        line="apps 1",
        what="what an app writes into its own cache is not counted",
        file="pinode/deploy/build_usage.py",
        old="self._folders = (folder, own_cache)",
        new="self._folders = (folder,)",
        test="tests/pinode/test_build_process.py::test_a_build_past_a_bound_is_ended_and_says_which",
    ),
    Mutant(
        line="apps 10",
        what="the newest of the caches goes first",
        file="pinode/deploy/build_caches.py",
        old="key=lambda entry: entry.changed_at)",
        new="key=lambda entry: -entry.changed_at)",
        test="tests/pinode/test_build_caches.py::"
        "test_five_hundred_builds_stay_within_the_bound_and_what_was_used_last_is_still_there",
    ),
    Mutant(
        line="apps 5",
        what="poetry's locked versions are not held to",
        file="builders/lock_files.py",
        old="return Asked(requirements=lines, constraints=tuple(constraints), notes=tuple(notes))",
        new="return Asked(requirements=lines, notes=tuple(notes))",
        test="tests/builders/test_lock_files.py::test_the_main_dependencies_are_asked_for_and_the_lock_holds_them",
    ),
    Mutant(
        line="apps 5",
        what="a Python that was never released for this wish is fetched: the newest, not the lowest",
        file="builders/interpreters.py",
        old='return next((f"3.{minor}" for minor in minors if',
        new='return next((f"3.{minor}" for minor in reversed(minors) if',
        test="tests/builders/test_own_python.py::"
        "test_the_lowest_that_satisfies_the_app_is_fetched_once_and_goes_into_the_slug",
    ),
    Mutant(
        line="apps 8",
        what="a program is written through a link that the repository holds at bin",
        file="builders/inner_folder.py",
        old="if folder.is_symlink() or (folder.exists() and not folder.is_dir()):",
        new="if folder.exists() and not folder.is_dir():",
        test="tests/builders/test_go.py::test_a_bin_that_leads_elsewhere_is_not_followed",
    ),
    Mutant(
        line="apps 9",
        what="a submodule may come from any host without encryption",
        file="builders/submodules.py",
        old='if url.transport != "https" and (url.transport, url.host) != (own.transport, own.host):',
        new='if url.transport == "file" and own.transport != "file":',
        test="tests/builders/test_submodules.py::test_other_addresses_are_refused",
    ),
    Mutant(
        line="hostile 3",
        what="a tree that holds a link and a folder of one name is laid out",
        file="builders/source.py",
        old='if f"{other}\\0".startswith(f"{one}\\0"):',
        new="if one == other:",
        test="tests/builders/test_submodules.py::"
        "test_a_link_beside_a_folder_of_its_name_leads_no_submodule_out_of_the_app",
    ),
    Mutant(
        line="hostile 5",
        what="the file server follows links out of its folder",
        file="builders/static_server.py",
        old="return place.resolve().is_relative_to(self._root)",
        new="return place.is_relative_to(self._root)",
        test="tests/builders/test_static_server.py::test_nothing_but_the_sites_own_files_is_served",
    ),
)
