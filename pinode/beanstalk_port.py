"""The beanstalk door of a node, when the settings open it."""

from pinode.errors import PinodeError
from pinode.live_cluster import LiveCluster
from pinode.settings.values import Address
from replicated_queue.broker import Broker


class BeanstalkPort:
    """Listens at `[listen] beanstalk`; without an address it is off, and costs nothing."""

    def __init__(self, cluster: LiveCluster, broker: Broker, address: Address | None) -> None:
        self._cluster = cluster
        self._broker = broker
        self._address = address

    async def run(self) -> None:
        """Serve until cancelled. Raises `PinodeError` naming the address when it is taken."""
        if self._address is None:
            return
        # Imported here: most nodes have no such door.
        from replicated_queue.beanstalk.door import BeanstalkDoor
        from replicated_queue.beanstalk.hall import Hall
        from replicated_queue.beanstalk.listening import listen

        try:
            listener = listen(self._address.host, self._address.port)
        except OSError as error:
            raise PinodeError(
                f"the beanstalk door cannot listen on {self._address}: {error.strerror or error}.",
                hint="Is another program there? `[listen] beanstalk` names another address.",
            ) from error
        cluster = self._cluster
        hall = Hall(self._broker, cluster.state.queue, now_ms=lambda: cluster.now_ms)
        with listener:
            await BeanstalkDoor(hall).run([listener])
