"""Keys and certificates: who holds the cluster key is a member, and nobody else."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pinode.errors import PinodeError
from pinode.peers import certificates
from pinode.peers.certificates import (
    authority_certificate,
    fingerprint,
    new_web_authority,
    node_id_of,
    peer_certificate,
    peer_in,
    subjects_of,
)
from pinode.peers.cluster_key import ClusterKey, new_cluster_key
from pinode.peers.errors import MalformedFrame
from pinode.peers.identity import WebCredentials, load_identity, load_web_credentials
from pinode.peers.keys import ClusterSecrets, SealBroken
from pinode.peers.tls import peer_client_context, peer_server_context
from tests.pinode.peer_nodes import CLUSTER_KEY, OTHER_KEY, identity_in

SECRETS = ClusterSecrets.derived_from(CLUSTER_KEY)
OTHER = ClusterSecrets.derived_from(OTHER_KEY)


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> ssl.SSLObject:
    """Shake hands in memory and return the client's end; raises `ssl.SSLError`."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for end in ends:
        end.do_handshake()
    return ends[0]


def test_a_node_keeps_its_key_and_everybody_can_compute_its_name(tmp_path: Path) -> None:
    first = load_identity(tmp_path, SECRETS)
    written = first.files.certificate.stat().st_mtime_ns

    again = load_identity(tmp_path, SECRETS)

    assert again == first
    assert first.files.certificate.stat().st_mtime_ns == written
    assert first.node_id == peer_in(der(first.files.certificate.read_text()))
    assert first.raft_id == int(first.node_id, 16)
    assert first.files.key.stat().st_mode & 0o777 == 0o600
    assert load_identity(tmp_path / "other", SECRETS).node_id != first.node_id


def test_every_holder_of_the_cluster_key_derives_the_same_authority_and_others_another() -> None:
    again = ClusterSecrets.derived_from(ClusterKey(CLUSTER_KEY.secret))

    assert authority_certificate(again.authority_key) == authority_certificate(SECRETS.authority_key)
    assert authority_certificate(OTHER.authority_key) != authority_certificate(SECRETS.authority_key)
    assert len({SECRETS.gossip_key, SECRETS.data_key, OTHER.gossip_key, OTHER.data_key}) == 4
    assert new_cluster_key() != new_cluster_key()


def test_a_certificate_whose_name_is_not_that_of_its_key_is_refused(tmp_path: Path) -> None:
    key, victim = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    stolen_name = (
        certificates._builder(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node_id_of(victim.public_key()))]),
            key.public_key(),
            issuer=certificates._name("pinode peers"),
            serial=7,
        )
        .sign(SECRETS.authority_key, None)
        .public_bytes(Encoding.DER)
    )
    web_authority, _ = new_web_authority("home")

    for certificate in (stolen_name, der(web_authority), b"", b"\x30\x03\x02\x01\x01", stolen_name[:-20]):
        with pytest.raises(MalformedFrame):
            peer_in(certificate)


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_certificate_of_another_authority_ends_the_handshake(tmp_path: Path, who: str) -> None:
    own, foreign = identity_in(tmp_path / "own"), identity_in(tmp_path / "foreign", OTHER_KEY)
    client = peer_client_context((own if who == "server" else foreign).files)
    server = peer_server_context((own if who == "client" else foreign).files)

    with pytest.raises(ssl.SSLError):
        handshake(client, server, "peer.pinode")


def test_certificates_hold_in_1970_and_for_as_long_as_a_pi_lives(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    web_authority, _ = new_web_authority("home")

    for pem in (
        peer_certificate(key, SECRETS.authority_key),
        authority_certificate(SECRETS.authority_key),
        web_authority,
        web_credentials(tmp_path).certificate_file.read_text(),
    ):
        certificate = x509.load_pem_x509_certificate(pem.encode())
        assert certificate.not_valid_before_utc.timestamp() == 0
        assert certificate.not_valid_after_utc.year == 2100


AUTHORITY, AUTHORITY_KEY = new_web_authority("home")


def web_credentials(
    folder: Path, *, host: str = "pi1", addresses: tuple[str, ...] = ("10.0.0.5", "fd00::5")
) -> WebCredentials:
    return load_web_credentials(
        folder,
        authority_pem=AUTHORITY,
        authority_key_pem=AUTHORITY_KEY,
        cluster_name="home",
        host=host,
        addresses=addresses,
    )


@pytest.mark.parametrize(
    "name",
    [
        "pi1",
        "pi1.local",
        "home.local",
        "localhost",
        "127.0.0.1",
        "::1",
        "10.0.0.5",
        "fd00::5",
        "queue.pinode",
    ],
)
def test_browsers_that_trust_the_ca_accept_every_name_and_address_of_the_node(
    tmp_path: Path, name: str
) -> None:
    client = ssl.create_default_context(cadata=AUTHORITY)

    handshake(client, web_credentials(tmp_path).context(), name)

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, web_credentials(tmp_path).context(), "pi2.local")


def test_the_https_certificate_is_issued_again_only_when_names_addresses_or_the_ca_change(
    tmp_path: Path,
) -> None:
    def issued() -> bytes:
        return (tmp_path / "web.crt").read_bytes()

    web_credentials(tmp_path)
    first = issued()
    web_credentials(tmp_path)
    unchanged = issued()
    web_credentials(tmp_path, addresses=("10.0.0.6",))
    moved = issued()
    web_credentials(tmp_path, host="kitchen", addresses=("10.0.0.6",))
    renamed = issued()
    other, other_key = new_web_authority("home")
    load_web_credentials(
        tmp_path,
        authority_pem=other,
        authority_key_pem=other_key,
        cluster_name="home",
        host="kitchen",
        addresses=("10.0.0.6",),
    )
    reissued = issued()
    (tmp_path / "web.crt").write_text("damaged")
    web_credentials(tmp_path, host="kitchen", addresses=("10.0.0.6",))

    assert unchanged == first
    assert len({first, moved, renamed, reissued}) == 4
    assert "kitchen.local" in subjects_of(issued().decode())[0]


def test_a_fingerprint_is_what_browsers_and_openssl_show() -> None:
    shown = fingerprint(AUTHORITY)

    assert len(shown.split(":")) == 32
    assert bytes.fromhex(shown.replace(":", "")) == x509.load_pem_x509_certificate(
        AUTHORITY.encode()
    ).fingerprint(certificates.SHA256())


def test_a_value_sealed_for_one_purpose_opens_for_that_alone_and_only_unchanged() -> None:
    sealed = SECRETS.seal(b"hunter2", purpose=b"config", nonce=b"n" * 12)

    assert b"hunter2" not in sealed
    assert SECRETS.open(sealed, purpose=b"config") == b"hunter2"
    changed = bytes([sealed[0]]) + sealed[1:-1] + bytes([sealed[-1] ^ 1])
    for secrets, value, purpose in (
        (SECRETS, sealed, b"setup code"),
        (OTHER, sealed, b"config"),
        (SECRETS, changed, b"config"),
        (SECRETS, b"", b"config"),
        (SECRETS, b"\x02" + sealed[1:], b"config"),
        (SECRETS, sealed[:12], b"config"),
    ):
        with pytest.raises(SealBroken):
            secrets.open(value, purpose=purpose)


def test_no_secret_is_shown_when_keys_are_printed(tmp_path: Path) -> None:
    shown = repr(CLUSTER_KEY) + repr(SECRETS) + repr(load_identity(tmp_path, SECRETS))

    for secret in (CLUSTER_KEY.secret, SECRETS.gossip_key, SECRETS.data_key):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_a_damaged_key_file_is_named_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "node.key").write_text("not a key")

    with pytest.raises(PinodeError, match=r"node\.key is not a private key"):
        load_identity(tmp_path, SECRETS)

    assert (tmp_path / "node.key").read_text() == "not a key"
