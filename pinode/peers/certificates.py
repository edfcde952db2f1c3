"""Certificates: nodes to each other (signed by whoever holds the cluster key), and the web to browsers.

A Pi has no battery clock, so all of them are valid from 1970 to 2100: trust ends by removal, not by time.
"""

import datetime
import hashlib
from collections.abc import Sequence
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pinode.peers.errors import MalformedFrame

VALID_FROM = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
VALID_UNTIL = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
QUEUE_NAME = "queue.pinode"  # the server name queue clients ask for on the peer port
AUTHORITY_NAME = "pinode peers"

WebKey = ec.EllipticCurvePrivateKey
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


def node_id_of(public_key: PublicKey) -> str:
    """Name a node by its public key: 16 hexadecimal digits."""
    return hashlib.sha256(_public_bytes(public_key)).hexdigest()[:16]


def fingerprint(certificate_pem: str) -> str:
    """SHA-256 of a certificate as people compare it: `AB:CD:…`."""
    der = x509.load_pem_x509_certificate(certificate_pem.encode()).public_bytes(Encoding.DER)
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def authority_certificate(authority_key: Ed25519PrivateKey) -> str:
    """Certificate of the peers' authority: the same bytes on every node that holds the cluster key."""
    name = _name(AUTHORITY_NAME)
    builder = _authority(name, authority_key.public_key(), serial=1)
    return _pem(builder.sign(authority_key, None))


def peer_certificate(node_key: Ed25519PrivateKey, authority_key: Ed25519PrivateKey) -> str:
    """Certificate of one node towards the others; its common name is the node id."""
    public_key = node_key.public_key()
    builder = (
        _builder(
            _name(node_id_of(public_key)),
            public_key,
            issuer=_name(AUTHORITY_NAME),
            serial=_serial(public_key),
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(_authority_identifier(authority_key.public_key()), critical=False)
    )
    return _pem(builder.sign(authority_key, None))


def peer_in(certificate_der: bytes) -> str:
    """Return the node id a peer proved: of its public key, which its common name must repeat.

    The authority's signature was checked in the handshake. Raises `MalformedFrame`.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        public_key = certificate.public_key()
        names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError as error:
        raise MalformedFrame("a peer's certificate cannot be read") from error
    if not isinstance(public_key, Ed25519PublicKey) or names != [node_id_of(public_key)]:
        raise MalformedFrame(f"a peer's certificate for {names} does not name the key it is for")
    return names[0]


def public_key_hash(certificate_pem: str) -> bytes:
    """SHA-256 of the public key a certificate is for: what a join token knows an authority by."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    found = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(found).digest()


def is_issued_by_peer_authority(certificate_der: bytes, authority_pem: str) -> bool:
    """Whether a node's certificate was signed by this authority of peers."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem.encode()))
    except Exception:  # of three unrelated types: whatever is wrong, it is not
        return False
    return True


def new_web_authority(cluster_name: str) -> tuple[str, bytes]:
    """Make the browsers' CA of a cluster: its certificate and its private key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _authority(
        _name(f"pinode {cluster_name}"), key.public_key(), serial=_serial(key.public_key())
    )
    return _pem(certificate.sign(key, SHA256())), private_pem(key)


def web_certificate(
    web_key: WebKey,
    *,
    authority_pem: str,
    authority_key_pem: bytes,
    names: Sequence[str],
    addresses: Sequence[str],
) -> str:
    """Issue a node's HTTPS certificate for host names and IP addresses."""
    authority = x509.load_pem_x509_certificate(authority_pem.encode())
    authority_key = load_pem_private_key(authority_key_pem, None)
    assert isinstance(authority_key, ec.EllipticCurvePrivateKey)
    subjects: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    subjects += [x509.IPAddress(ip_address(address)) for address in addresses]
    builder = (
        _builder(
            _name(names[0]),
            web_key.public_key(),
            issuer=authority.subject,
            serial=x509.random_serial_number(),
        )
        .add_extension(x509.SubjectAlternativeName(subjects), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_authority_identifier(authority_key.public_key()), critical=False)
    )
    return _pem(builder.sign(authority_key, SHA256()))


def subjects_of(certificate_pem: str) -> tuple[set[str], set[str]]:
    """Names and addresses a certificate is for."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return set(found.get_values_for_type(x509.DNSName)), addresses


def is_issued_by(certificate_pem: str, *, authority_pem: str, web_key: WebKey) -> bool:
    """Whether a certificate is for this key and signed by this authority."""
    certificate = x509.load_pem_x509_certificate(certificate_pem.encode())
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem.encode()))
    except Exception:  # of three unrelated types: whatever is wrong, a new certificate is the answer
        return False
    return _public_bytes(web_key.public_key()) == certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def private_pem(key: Ed25519PrivateKey | WebKey) -> bytes:
    """A private key as PEM, unencrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_bytes(key: PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _serial(key: PublicKey) -> int:
    return int.from_bytes(hashlib.sha256(_public_bytes(key)).digest()[:16], "big") >> 1 | 1


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _authority_identifier(key: PublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)


def _builder(
    subject: x509.Name, key: PublicKey, *, issuer: x509.Name, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(VALID_FROM)
        .not_valid_after(VALID_UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _authority(name: x509.Name, key: PublicKey, *, serial: int) -> x509.CertificateBuilder:
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        _builder(name, key, issuer=name, serial=serial)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
