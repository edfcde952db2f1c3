"""Queue servers on loopback, under TLS with a CA made for the test."""

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from replicated_queue.broker import Broker
from replicated_queue.client_link import ALPN, SERVER_NAME
from replicated_queue.client_server import ClientConnection, queue_protocol

TOKEN = "let me in"
BEGIN, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


class ThrowawayCA:
    """Issues one certificate for queue servers."""

    def __init__(self, directory: Path) -> None:
        self.ca_file = directory / "ca.pem"
        self._server_file = directory / "server.pem"
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = self._certificate("throwaway CA", "throwaway CA", ca_key, ca_key)
        key = ec.generate_private_key(ec.SECP256R1())
        server = self._certificate(SERVER_NAME, "throwaway CA", key, ca_key)
        self.ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self._server_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + server.public_bytes(serialization.Encoding.PEM)
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._server_file)
        context.set_alpn_protocols([ALPN])
        return context

    def _certificate(
        self,
        subject: str,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
    ) -> x509.Certificate:
        is_ca = subject == issuer
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGIN)
            .not_valid_after(END)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(subject.replace(" ", "-"))]), critical=False
            )
            # Python 3.13 verifies strictly: both identifiers, and what a CA may be used for.
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, is_ca, is_ca, False, False), critical=True
            )
            .sign(signer, hashes.SHA256())
        )


class QueueServer:
    """One node's door for clients; `stop` cuts all connections, `start` opens the same port again."""

    def __init__(self, broker: Broker, context: ssl.SSLContext) -> None:
        self._make = queue_protocol(broker, authenticate=self._authenticate)
        self._context = context
        self._server: asyncio.Server | None = None
        self.connections: list[ClientConnection] = []
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> "QueueServer":
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def cut(self) -> None:
        """Reset every connection."""
        for connection in self.connections:
            if connection._transport is not None:
                connection._transport.abort()
        self.connections.clear()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()

    def _accept(self) -> ClientConnection:
        connection = self._make()
        self.connections.append(connection)
        return connection

    async def _authenticate(self, token: bytes) -> bool:
        return token == TOKEN.encode()
