"""How texts of errors are put on a page."""

import pytest

from pinode.peers.errors import PeerRefused
from pinode.web.problems import problem_of
from pinode.web.rendering import ago, said, sentence, span
from replicated_queue.errors import NoQuorum


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("there is no app named 'x'", "There is no app named 'x'."),
        ("web.1: crashed 4 times in a row", "web.1: crashed 4 times in a row."),
        ("pi3 is dead", "pi3 is dead."),
        ("no quorum: nothing was changed.", "No quorum: nothing was changed."),
        ("`pinode apps` lists them", "`pinode apps` lists them."),
        ("TimeoutError", "TimeoutError."),
        ("  ", ""),
        (None, ""),
    ],
)
def test_an_errors_words_become_a_sentence_and_names_in_it_stay_as_they_are(
    text: str | None, shown: str
) -> None:
    assert sentence(text) == shown


def test_what_stands_in_backticks_is_shown_as_code_and_everything_is_escaped() -> None:
    shown = said("ask `pinode ps -a <app>`, or <b> me; `never ended")

    assert shown == "Ask <code>pinode ps -a &lt;app&gt;</code>, or &lt;b&gt; me; `never ended."


def test_an_error_of_the_queue_says_first_what_happened_and_then_what_to_do() -> None:
    problem = problem_of(NoQuorum(waited_seconds=10))

    assert problem.message.startswith("no quorum: ") and problem.message.endswith("nothing was.")
    assert problem.hint.startswith("Bring the missing nodes back")
    assert problem_of(TimeoutError()).message == "no answer in time; it may or may not be done."


@pytest.mark.parametrize(("code", "status"), [("conflict", 409), ("timed_out", 504), ("damaged", 400)])
def test_what_another_node_refuses_has_the_status_that_it_would_have_here(code: str, status: int) -> None:
    problem = problem_of(PeerRefused("four run there already", code=code))

    assert (problem.status, problem.code) == (status, code)


@pytest.mark.parametrize(
    ("seconds", "lasted", "happened"),
    [
        (None, "", ""),
        (0, "less than 1 s", "just now"),
        (59.4, "59 s", "59 s ago"),
        (90, "2 min", "2 min ago"),
        (7200, "2 h", "2 h ago"),
        (3 * 86400, "3 d", "3 d ago"),
    ],
)
def test_durations_are_told_in_the_unit_that_people_would_take(
    seconds: float | None, lasted: str, happened: str
) -> None:
    assert (span(seconds), ago(seconds)) == (lasted, happened)
