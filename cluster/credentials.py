"""TLS for one session of one run: a key and a certificate that only its own processes hold."""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed.security import Security

_DAY = datetime.timedelta(days=1)


def temporary() -> tuple[str, str]:
    """Returns a fresh key and its self-signed certificate, as PEM text.

    It has been valid for a day already: clocks of nodes differ.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "petavox")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 3650 * _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), certificate.public_bytes(encoding).decode()


def security(key: str, certificate: str) -> Security:
    """Makes the credentials by which Dask's processes trust one another and nobody else; PEM text or paths of files."""
    roles = {f"tls_{role}_{part}": {"key": key, "cert": certificate}[part] for role in _ROLES for part in _PARTS}
    return Security(require_encryption=True, tls_ca_file=certificate, **roles)


_ROLES = ("client", "scheduler", "worker")
_PARTS = ("key", "cert")
