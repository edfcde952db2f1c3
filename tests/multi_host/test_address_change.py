"""A node gets another address while it runs (DHCP): the others find it there, and it goes on."""

import pytest

from tests.multi_host.test_partition import Pis, pis  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.multi_host, pytest.mark.netns]
NEW_IP = "10.77.0.99"


def test_a_node_whose_address_changes_is_found_at_the_new_one(pis: Pis) -> None:  # noqa: F811
    moving, others = pis.network[3], [pis.network[1], pis.network[2]]

    assert moving.run(["ip", "addr", "del", f"{moving.ip}/24", "dev", "eth0"]).returncode == 0
    assert moving.run(["ip", "addr", "add", f"{NEW_IP}/24", "brd", "+", "dev", "eth0"]).returncode == 0
    moving.ip = NEW_IP

    def is_seen_there() -> bool:
        rows = [pis.json(host, "status")["nodes"] for host in others]
        seen = [next(row for row in table if row["name"] == moving.name) for table in rows]
        return all((row["state"], row["address"].split(":")[0]) == ("alive", NEW_IP) for row in seen)

    pis.until(is_seen_there, seconds=30, what="the others see it at its new address")
    pis.until(
        lambda: pis.json(moving, "status")["cluster"]["has_quorum"], seconds=20, what="it hears the leader"
    )
    assert pis.pinode(moving, "apps:create", "blog").returncode == 0
    log = (moving.outside / "node.log").read_text()
    assert f"this node has a new address address={NEW_IP}" in log
    asked = others[0].run(
        ["openssl", "s_client", "-connect", f"{NEW_IP}:8000", "-verify_ip", NEW_IP], input="", seconds=20
    )
    assert (
        f"IP Address:{NEW_IP}"
        in others[0].run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=asked.stdout).stdout
    )
