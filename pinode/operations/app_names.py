"""Which names an app may have beside other apps: it answers at `<app>.<domain>`, where nothing else may."""

from pinode.cluster import Cluster
from pinode.errors import Conflict
from pinode.lan_names.wanted import LAN_DOMAIN, has_web, is_announcing, names_of_nodes


class NameOnLan(Conflict):
    """Under `local`, what is called so on the network would be taken for the app, or the app for it."""

    code = "name_on_lan"

    def __init__(self, name: str, *, owner: str) -> None:
        super().__init__(
            f"{name}.{LAN_DOMAIN} is {owner} already.",
            hint="Choose another name for the app, or give the apps a domain of their own: [apps] domain.",
        )


def check_name_is_free(cluster: Cluster, name: str) -> None:
    """Raises `NameOnLan` for a name under which the network knows a node or the cluster itself."""
    if cluster.settings.apps.domain.lower() != LAN_DOMAIN:
        return
    if name == cluster.settings.cluster.name.lower():
        raise NameOnLan(name, owner="the cluster")
    if any(node.name.lower() == name for node in cluster.nodes() if node.state != "left"):
        raise NameOnLan(name, owner="a node of this cluster")


def has_name(cluster: Cluster, app: str) -> bool:
    """Whether `<app>.<domain>` leads here: under `local` while it is announced, else by one's own DNS."""
    if cluster.settings.apps.domain.lower() != LAN_DOMAIN:
        return True
    if not is_announcing(cluster.settings) or not has_web(cluster.state.registry, app):
        return False
    nodes = cluster.nodes()
    taken = {name for node in nodes if node.is_in_reach for name in node.taken_names}
    return app not in taken | names_of_nodes(nodes)
