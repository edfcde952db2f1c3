"""One blow each against the builder, the leader and the slug's holder during a deploy; `make soak` deals many."""

import pytest

from tests.multi_host.deploy_faults import VICTIMS, prepared

pytestmark = pytest.mark.multi_host


def test_a_node_killed_during_a_deploy_costs_no_request_and_one_release_comes_of_it() -> None:
    with prepared(seed=1) as faults:
        for kind in VICTIMS:
            faults.round(kind)

    assert not faults.wrong, "\n".join(faults.wrong)
