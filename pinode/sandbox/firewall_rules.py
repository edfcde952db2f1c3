"""What builds and dynos may not reach on this machine: the rules of its packet filter, as text. Pure.

Builds and dynos use the host's network, each under a user number of its own where pinode is root. By that
number they are kept from services that listen on loopback for the machine's own programs, from the ports of
other dynos, and from link-local addresses (a cloud's metadata among them). Only what begins a conversation is
looked at: answers pass.
"""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from pinode.sandbox.limits import BUILD_UID, FIRST_UID

TABLE = "inet pinode"
NAME_SERVICE = 53
EPHEMERAL = "32768-65535"  # where a program listens that asks for any free port: mostly for its own children
LINK_LOCAL = "169.254.0.0/16"
DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


def rules(*, doors: Collection[int], app_ports: str, dyno_ports: str) -> str:
    """The whole table for nft(8), in place of one that is there.

    `doors` of pinode itself, which ask who comes, and `app_ports`, a range that is open to the whole network,
    stay open on loopback. `dyno_ports` are closed, but for the one that a dyno was given itself.
    """
    allowed = f"{{ {_listed({NAME_SERVICE, *doors})}, {app_ports}, {EPHEMERAL} }}"
    return f"""\
table {TABLE} {{}}
delete table {TABLE}
table {TABLE} {{
    set own_ports {{ type uid . inet_service; }}
    set build_ports {{ type inet_service; }}
    chain output {{
        type filter hook output priority filter; policy accept;
        meta skuid {FIRST_UID}-{BUILD_UID} jump walled
    }}
    chain walled {{
        tcp flags & (syn | ack) != syn accept
        ip daddr {LINK_LOCAL} reject
        oifname != "lo" accept
        meta skuid . th dport @own_ports accept
        meta skuid {BUILD_UID} tcp dport @build_ports accept
        meta l4proto {{ tcp, udp }} th dport {dyno_ports} reject
        meta l4proto {{ tcp, udp }} ip daddr 127.0.0.0/8 th dport != {allowed} reject
        meta l4proto {{ tcp, udp }} ip6 daddr ::1 th dport != {allowed} reject
    }}
}}
"""


def give_port(uid: int, port: int, *, last_owner: int | None) -> str:
    """Let the processes of `uid` reach `port`, whoever had it before not any more."""
    before = (
        f"delete element {TABLE} own_ports {{ {last_owner} . {port} }}\n" if last_owner is not None else ""
    )
    return f"{before}add element {TABLE} own_ports {{ {uid} . {port} }}\n"


def open_to_builds(ports: Collection[int]) -> str:
    """Let builds reach these ports on loopback: of a repository that an administrator named, of an index."""
    return f"add element {TABLE} build_ports {{ {_listed(ports)} }}\n"


def close_to_builds(ports: Collection[int]) -> str:
    """The opposite; they may be closed already."""
    elements = f"element {TABLE} build_ports {{ {_listed(ports)} }}\n"
    return f"add {elements}delete {elements}"


def loopback_port(url: str) -> int | None:
    """The port of a URL that leads to this machine's loopback; None for all others."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        is_here = host == "localhost" or host.endswith(".localhost") or ip_address(host).is_loopback
    except ValueError:
        return None
    return port or DEFAULT_PORTS.get(parts.scheme) if is_here else None


def loopback_ports(environment: Mapping[str, str]) -> frozenset[int]:
    """Ports on loopback that the machine's settings for packages name."""
    words = (word for value in environment.values() for word in value.replace(",", " ").split())
    return frozenset(port for word in words if (port := loopback_port(word.partition("|")[0])) is not None)


def _listed(ports: Collection[int]) -> str:
    return ", ".join(map(str, sorted(ports)))
