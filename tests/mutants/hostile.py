"""Bugs somebody could write into what keeps strangers' input out, by line of `docs/checklist_hostile.md`."""

from tests.mutants.mutant import Mutant

URL = "tests/builders/test_git_url.py::"
REQUESTS = "tests/pinode/test_router_requests.py::"
SANDBOX = "tests/pinode/test_sandbox.py::"
WALLS, HEAD = "pinode/sandbox/command_line.py", "pinode/router/http_head.py"


def planted(line: int, what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line=f"hostile {line}", what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        1,
        "loopback is known by its names alone",
        "builders/git_url.py",
        "if local_name or (address is not None and is_closed(address)):",
        "if local_name:",
        URL + "test_loopback_and_link_local_are_for_administrators_however_they_are_spelled",
    ),
    planted(
        1,
        "git may fetch by any transport",
        "builders/git_url.py",
        'if transport not in ("https", "http", "ssh"):',
        "if not transport:",
        URL + "test_options_paths_other_transports_and_strange_text_are_refused",
    ),
    planted(
        2,
        "a name may begin as an app's name and go on as anything",
        "pinode/apps/checks.py",
        "if not APP_NAME.fullmatch(name):",
        "if not APP_NAME.match(name):",
        "tests/pinode/test_registry_apps.py::test_a_name_outside_its_pattern_is_refused_with_the_name",
    ),
    planted(
        3,
        "a link in an archive may lead out of it",
        "builders/archive.py",
        'if target.startswith("/") or not target or leads_out or "\\0" in target:',
        'if target.startswith("/") or not target or "\\0" in target:',
        "tests/builders/test_upload.py::test_an_archive_that_could_do_harm_is_refused_and_touches_nothing_else",
    ),
    planted(
        3,
        "a link may go up behind another link",
        "builders/archive.py",
        ' or ".." in parts[ups:]',
        "",
        "tests/builders/test_archive.py::"
        "test_an_archive_that_is_not_as_we_write_them_is_refused_and_touches_nothing_else",
    ),
    planted(
        3,
        "the node writes into a folder that a link of the slug leads to",
        "pinode/sandbox/interpreters.py",
        "if folder.is_symlink() or folder.parent.is_symlink():",
        "if False:",
        SANDBOX + "test_nothing_is_written_where_a_link_of_the_slug_leads",
    ),
    planted(
        3,
        "hooks and settings of git come along in an archive",
        "builders/upload.py",
        'if member.name == "." or LEFT_OUT in (part.lower() for part in path.parts):',
        'if member.name == ".":',
        "tests/builders/test_upload.py::test_the_git_folder_is_left_out_wherever_it_is",
    ),
    planted(
        5,
        "any text is a host",
        HEAD,
        "    if hosts and not HOST.fullmatch(hosts[0]):\n",
        "    if False:\n",
        REQUESTS + "test_what_is_no_host_reaches_no_dyno_at_an_app_port_either",
    ),
    planted(
        5,
        "of two hosts the first one counts",
        HEAD,
        '    if len(hosts) != 1 and (version == "1.1" or hosts):\n',
        "    if not hosts:\n",
        REQUESTS + "test_a_request_that_could_be_read_in_two_ways_is_refused_and_reaches_no_dyno",
    ),
    planted(
        5,
        "any protocol is tunnelled",
        HEAD,
        ' or named[0].lower() != b"websocket":',
        ":",
        REQUESTS + "test_an_upgrade_to_anything_else_is_an_ordinary_request",
    ),
    planted(
        6,
        "a form needs no token",
        "pinode/web/caller.py",
        "    if secret is None or not hmac.compare_digest(\n",
        "    if False and not hmac.compare_digest(\n",
        "tests/pinode/test_web_pages.py::test_a_form_without_its_token_or_from_another_site_changes_nothing",
    ),
    planted(
        6,
        "any site may send a form",
        "pinode/web/caller.py",
        " or origin.netloc != request.host:",
        ":",
        "tests/pinode/test_web_pages.py::test_a_form_without_its_token_or_from_another_site_changes_nothing",
    ),
    planted(
        7,
        "every member may do all with every app",
        "pinode/web/guard.py",
        "    if not caller.is_admin and app.owner != caller.name:\n",
        "    if False:\n",
        "tests/pinode/test_web_authorisation.py::"
        "test_members_are_refused_at_somebody_elses_app_and_change_nothing",
    ),
    planted(
        9,
        "a child sees the processes of the node",
        WALLS,
        '        "--unshare-pid",\n',
        "",
        SANDBOX + "test_no_other_process_is_seen_or_can_be_signalled",
    ),
    planted(
        9,
        "a child keeps the groups of the node",
        WALLS,
        '"--clear-groups", "--bounding-set=-all"',
        '"--keep-groups", "--bounding-set=-all"',
        SANDBOX + "test_it_has_no_rights_no_way_to_get_some_and_a_user_of_its_own",
    ),
)
