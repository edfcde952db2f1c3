"""The setup code: who knows it registers as the first user and becomes administrator."""

import hashlib


def setup_code_hash(code: str) -> bytes:
    """Return what the cluster keeps of the code. Case, spaces and hyphens do not count: people type it."""
    typed = "".join(code.split()).replace("-", "").upper()
    return hashlib.sha256(b"pinode setup code\0" + typed.encode("utf-8", "replace")).digest()
