"""TLS between nodes, from files alone: usable by processes of a node that do not load `cryptography`."""

import ssl
from dataclasses import dataclass
from pathlib import Path

PEER_PROTOCOL = "pinode-peer/1"
QUEUE_PROTOCOL = "pinode-queue/1"
JOIN_PROTOCOL = "pinode-join/1"
KEYS_PROTOCOL = "pinode-keys/1"
PEER_NAME = "peer.pinode"  # the server name peers ask for; who answers is told by its key


@dataclass(frozen=True, slots=True)
class PeerFiles:
    """A node's key, its certificate under the cluster's authority, and the authority's certificate."""

    key: Path
    certificate: Path
    authority: Path


def peer_server_context(
    files: PeerFiles, *protocols: str, certificate_required: bool = True
) -> ssl.SSLContext:
    """TLS towards peers that dial us; where their certificate is optional, look for it before any byte."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, files, *(protocols or (PEER_PROTOCOL,)))
    context.verify_mode = ssl.CERT_REQUIRED if certificate_required else ssl.CERT_OPTIONAL
    context.num_tickets = 0  # links live long: a ticket for resumption would only cost
    return context


def peer_client_context(files: PeerFiles, *, protocol: str = PEER_PROTOCOL) -> ssl.SSLContext:
    """TLS towards peers we dial; the node id in their certificate is to be compared by the caller."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, files, protocol)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def join_client_context(protocol: str = JOIN_PROTOCOL) -> ssl.SSLContext:
    """TLS towards a member, for who holds no authority's certificate that this one shows.

    It proves only that the other end holds the key of the certificate it shows: the caller compares that with
    the join token, or with the id it expects, before it says anything.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def _context(kind: int, files: PeerFiles, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    context.load_verify_locations(cafile=files.authority)
    context.set_alpn_protocols(list(protocols))
    return context
