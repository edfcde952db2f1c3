"""`docs/job_states.md` draws the transitions that the code allows."""

import re
from pathlib import Path

from replicated_queue.queue.job import TRANSITIONS

PAGE = Path(__file__).parent.parent.parent / "docs" / "job_states.md"


def test_the_picture_of_job_states_shows_exactly_the_transitions_of_the_code() -> None:
    drawn = re.findall(r"^ {4}(\w+) --> (\w+): (\w+)$", PAGE.read_text(), re.MULTILINE)

    assert {(before, event, after) for before, after, event in drawn} == TRANSITIONS
