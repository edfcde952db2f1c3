"""This node's HTTPS certificate while it runs: issued anew when the addresses change that it names."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from pinode.host import own_addresses
from pinode.peers.founding_record import FoundingRecord
from pinode.peers.identity import WebCredentials, load_web_credentials
from pinode.peers.keys import ClusterSecrets

Issue = Callable[[str], WebCredentials]  # for the address that others dial


class OwnCertificate:
    """Gives doors their TLS contexts; after `renew` they show the new one from the next handshake on."""

    def __init__(self, issue: Issue, host: str) -> None:
        self._issue = issue
        self._contexts: list[ssl.SSLContext] = []
        self.credentials = issue(host)

    def context(self, *protocols: str) -> ssl.SSLContext:
        """For a server that asks its clients for no certificate."""
        context = self.credentials.context(*protocols)
        self._contexts.append(context)
        return context

    async def renew(self, host: str) -> None:
        """Name these addresses from now on."""
        self.credentials = await asyncio.to_thread(self._issue, host)
        for context in self._contexts:
            context.load_cert_chain(self.credentials.certificate_file, self.credentials.key_file)


def issued_by(record: FoundingRecord, secrets: ClusterSecrets, *, data_dir: Path) -> Issue:
    """Certificates for this machine, under the browsers' CA of its cluster."""
    return lambda host: load_web_credentials(
        data_dir,
        authority_pem=record.web_authority_pem,
        authority_key_pem=record.web_authority_key(secrets),
        cluster_name=record.name,
        host=socket.gethostname(),
        addresses=[host, *own_addresses()],
    )
