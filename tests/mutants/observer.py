"""What pytest loads while bugs are planted (`-p tests.mutants.observer`): it writes down how each test went.

Of examples that fail one is enough, and it is not made smaller: that takes minutes, and here nobody reads them.
"""

import json
import os

import pytest
from hypothesis import Phase, settings

REPORTS = "MUTANTS_REPORTS"  # the file they go to, one JSON object a line: test, when, outcome, seconds


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Behind the configuration of the tests themselves."""
    settings.register_profile(
        "mutants", settings(), phases=set(Phase) - {Phase.shrink, Phase.explain}, report_multiple_bugs=False
    )
    settings.load_profile("mutants")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Once for the setup, the call and the teardown of each test."""
    told = {"test": report.nodeid, "when": report.when, "outcome": report.outcome, "seconds": report.duration}
    with open(os.environ[REPORTS], "a") as file:
        file.write(json.dumps(told) + "\n")
