"""Bugs somebody could write into the life of an app, by line of `docs/checklist_apps.md`."""

from tests.mutants.mutant import Mutant

BUILD = "tests/builders/test_build.py::"
HEALTH = "tests/pinode/test_health_checks.py::"
SUPERVISOR = "tests/pinode/test_dyno_supervisor.py::"
STATES = "tests/pinode/test_dyno_states.py::"
LOG = "tests/pinode/test_app_log.py::"
DYNO, ASKED = "pinode/dynos/dyno.py", "pinode/dynos/health.py"


def planted(line: int, what: str, file: str, old: str, new: str, test: str) -> Mutant:
    return Mutant(line=f"apps {line}", what=what, file=file, old=old, new=new, test=test)


MUTANTS = (
    planted(
        2,
        "a step that fails is passed over",
        "builders/steps.py",
        "        if code != 0:\n",
        "        if code < 0:\n",
        BUILD + "test_a_failing_install_step_fails_the_build_and_its_output_is_in_the_log",
    ),
    planted(
        4,
        "blanks around a value are lost on its way into the walls",
        "pinode/sandbox/command_line.py",
        'word.encode("utf-8", "surrogateescape")',
        'word.strip().encode("utf-8", "surrogateescape")',
        "tests/pinode/test_sandbox.py::test_the_environment_arrives_byte_for_byte_and_is_all_there_is",
    ),
    planted(
        6,
        "Django is not looked for",
        "builders/web_process.py",
        "    if django := _django(app):\n",
        "    if (django := _django(app)) and False:\n",
        "tests/builders/test_web_process.py::test_flask_fastapi_and_django_are_recognised",
    ),
    planted(
        7,
        "only an answer of 200 is one",
        ASKED,
        "return Health(True) if not check.path else _judged(check, await _answer(reader))",
        "return _judged(check, await _answer(reader))",
        HEALTH + "test_any_answer_over_http_is_one_and_the_question_carries_the_apps_host",
    ),
    planted(
        7,
        "the question names the address it goes to",
        ASKED,
        'own = {"host": host,',
        'own = {"host": LOOPBACK,',
        HEALTH + "test_any_answer_over_http_is_one_and_the_question_carries_the_apps_host",
    ),
    planted(
        7,
        "whatever answers on the port is taken for the dyno",
        ASKED,
        "        if port not in await asyncio.to_thread(_ports_of, process):\n",
        "        if False:\n",
        SUPERVISOR + "test_another_program_on_the_port_is_not_taken_for_the_dyno",
    ),
    planted(
        7,
        "an app that ignores PORT is only told that it does not answer",
        ASKED,
        "    if health.answers or health.is_wrong_answer or not is_last:\n",
        "    if True:\n",
        SUPERVISOR + "test_an_app_that_ignores_port_is_told_where_it_listens",
    ),
    planted(
        11,
        "a dyno is asked to end while requests may still come",
        DYNO,
        "self._timings.drain_seconds if drain and was_up else 0",
        "0",
        STATES + "test_stopping_leaves_the_routes_first_then_asks_then_kills",
    ),
    planted(
        12,
        "a node that starts again drops the routes of apps it has not heard of yet",
        "pinode/router/settling.py",
        "is_whole = all(app.routes or not app.expected for app in table.apps)",
        "is_whole = True",
        "tests/pinode/test_router_settling.py::"
        "test_an_app_of_which_no_dyno_was_heard_of_yet_keeps_its_old_routes_for_longer",
    ),
    planted(
        12,
        "a suspicion moves dynos",
        "pinode/scheduler/plan_memory.py",
        "        if node.is_in_reach:\n",
        '        if node.state == "alive":\n',
        "tests/pinode/test_plan_placing.py::test_a_suspicion_moves_nothing",
    ),
    planted(
        13,
        "a line of any length is shown",
        "pinode/logs/log_line.py",
        "    shown = line[:LINE_BYTES]\n",
        "    shown = line\n",
        LOG + "test_binary_and_endless_lines_become_text_that_harms_no_terminal",
    ),
    planted(
        13,
        "a dyno that prints the platform's mark speaks as the platform",
        "pinode/logs/log_line.py",
        "place < len(marks) and marks[place].is_platform",
        "place < len(marks)",
        LOG + "test_a_dyno_cannot_speak_as_the_platform",
    ),
    planted(
        14,
        "a dyno that was found running must answer anew",
        DYNO,
        "        if is_listening or not self._listens:\n",
        "        if False:\n",
        STATES + "test_a_dyno_found_running_is_up_at_once_when_it_listens",
    ),
    planted(
        15,
        "certificates hold from the day they were made",
        "pinode/peers/certificates.py",
        "VALID_FROM = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)",
        "VALID_FROM = datetime.datetime.now(tz=datetime.UTC)",
        "tests/pinode/test_certificates.py::test_certificates_hold_in_1970_and_for_as_long_as_a_pi_lives",
    ),
)
