"""What a plan wants done, asked of the cluster; a plan that is overtaken is made anew."""

import logging

from pinode.apps.errors import Refused
from pinode.cluster import Cluster
from pinode.cluster_state import AgreedCommand
from pinode.errors import PinodeError
from replicated_queue.errors import QueueError

logger = logging.getLogger(__name__)


async def is_carried_out(cluster: Cluster, command: AgreedCommand, *, plan: str) -> bool:
    """Whether it is agreed on; if not, the state is not what was planned for, or nobody answers.

    `plan` is the word by which the log calls it.
    """
    try:
        await cluster.execute(command)
    except Refused as refused:
        logger.info("%s overtaken command=%r reason=%s", plan, command, refused.message)
        return False
    except (PinodeError, QueueError, TimeoutError, OSError) as error:
        logger.warning("%s not carried out command=%r reason=%s", plan, command, error)
        return False
    logger.info("%s command=%r", plan, command)
    return True
