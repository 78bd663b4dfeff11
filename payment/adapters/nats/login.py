"""The service's credentials for NATS and the certificates that it trusts, beyond the user and password of `NATS_URL`.

Owns: `.creds` files, nkeys, client certificates and a private CA. Files are read again for each connection, so that
rotated credentials and renewed certificates need no restart. Must never: put a secret into an error, or wait for a
passphrase on a terminal. Change together with: `payment.adapters.nats.link`, which uses it.

NATS's own package for nkeys has no wheel; this module needs only the encoding, which is documented in
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth and
https://github.com/nats-io/nkeys (crc16.go, strkey.go). The signature itself is PyNaCl's.
"""

import base64
import binascii
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from payment.ops.secret import Secret
from payment.process.listening import Unfit
from payment.settings.values import NOT_SHOWN

if TYPE_CHECKING:
    pass

FILE_BYTES_MAX = 262_144
"""Longest file that is read, in bytes: a bundle of all public CAs has 220 KB."""
SEED_BYTES = 32
PREFIX_SEED, PREFIX_USER = 18 << 3, 20 << 3
"""The first bits of nkeys: `S` for a seed, `U` for a user."""
CHECKSUM_BYTES = 2

_PEM = "-----BEGIN"
_JWT = re.compile(r"-{3,}\s*BEGIN NATS USER JWT\s*-{3,}\s*([A-Za-z0-9_.-]+)\s")
_SEED = re.compile(r"-{3,}\s*BEGIN USER NKEY SEED\s*-{3,}\s*([A-Z2-7]+)\s")
_PLAIN_SEED = re.compile(r"S[A-Z2-7]{50,70}")


class LoginError(Unfit):
    """A credential that can't be used. `variable` is the environment variable that names it; the text holds no
    secret.
    """

    def __init__(self, variable: str, text: str) -> None:
        super().__init__(text)
        self.variable = variable


class Signer:
    """Signs the server's challenge. `jwt` is the user's JWT, or None where the server knows only the nkey."""

    def __init__(self, seed: bytes, jwt: str | None) -> None:
        # Imported here, so that only deployments with nkeys pay for it (40 ms, 2 MB).
        from nacl.signing import SigningKey

        self.jwt = jwt
        self._key: SigningKey = SigningKey(seed)
        public = bytes([PREFIX_USER]) + bytes(self._key.verify_key)
        self.public_key = base64.b32encode(public + _checksum(public)).decode().rstrip("=")

    def sign(self, nonce: str) -> bytes:
        """Returns the signature of a nonce, in base64."""
        return base64.b64encode(self._key.sign(nonce.encode()).signature)

    def user_jwt(self) -> bytes:
        return (self.jwt or "").encode()


class NatsLogin(Struct, frozen=True):
    """The service's identity at NATS: at most one of `creds` and `nkey_seed`, and the certificates for TLS. Each is a
    path or the text itself.
    """

    creds: Secret | None = None
    nkey_seed: Secret | None = None
    tls_cert: Secret | None = None
    tls_key: Secret | None = None
    tls_ca: Secret | None = None

    @property
    def wants_tls(self) -> bool:
        return (self.tls_cert or self.tls_key or self.tls_ca) is not None

    def signer(self) -> Signer | None:
        """Returns a signer from freshly read credentials; None where neither `creds` nor `nkey_seed` is set. Raises
        LoginError.
        """
        if self.creds is not None:
            return read_creds(self.creds.reveal())
        return None if self.nkey_seed is None else read_nkey_seed(self.nkey_seed.reveal())

    def tls(self) -> ssl.SSLContext | None:
        """Returns a TLS context from freshly read certificates; None for nats-py's default, which trusts the system's
        CAs. Raises LoginError.
        """
        if not self.wants_tls:
            return None
        context = _context(self.tls_ca)
        if self.tls_cert is not None:
            _load_certificate(context, self.tls_cert, self.tls_key)
        return context


def read_creds(value: str) -> Signer:
    """Returns the signer of a `.creds` file or its text. Raises LoginError."""
    variable = "NATS_CREDS"
    text = _text(variable, value, "BEGIN NATS USER JWT") + "\n"
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        raise LoginError(variable, "it holds no user JWT with its nkey seed, as `nsc generate creds` writes them")
    return Signer(_seed_bytes(variable, seed[1]), jwt[1])


def read_nkey_seed(value: str) -> Signer:
    """Returns the signer of an nkey seed or of the file that holds it. Raises LoginError."""
    variable = "NATS_NKEY_SEED"
    text = value.strip() if _PLAIN_SEED.fullmatch(value.strip()) else _text(variable, value, "BEGIN USER NKEY SEED")
    marked = _SEED.search(f"{text}\n")
    return Signer(_seed_bytes(variable, marked[1] if marked else text.strip()), None)


def read_pem(value: str) -> str:
    """Returns the text of a certificate or key in PEM, given itself or as a file. Raises LoginError."""
    text = _text("", value, _PEM)
    if _PEM not in text:
        raise LoginError("", "it holds nothing in PEM")
    return text


def shown_path(value: str) -> str:
    """Returns the value where it is a path, and a mask where it is a secret text."""
    return repr(value) if re.fullmatch(r"(?=.*[/.])[A-Za-z0-9_./~-]{1,200}", value) else NOT_SHOWN


def _seed_bytes(variable: str, seed: str) -> bytes:
    """Returns the 32 bytes of a user's seed."""
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        raise LoginError(variable, "the seed is no nkey") from None
    body, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    if len(body) != 2 + SEED_BYTES or checksum != _checksum(body) or body[0] & 0xF8 != PREFIX_SEED:
        raise LoginError(variable, "the seed is no nkey, or not a whole one")
    if ((body[0] & 0x07) << 5 | body[1] >> 3) != PREFIX_USER:
        raise LoginError(variable, "the seed is of an account or operator, not of a user (SU…)")
    return body[2:]


def _checksum(data: bytes) -> bytes:
    return binascii.crc_hqx(data, 0).to_bytes(CHECKSUM_BYTES, "little")


def _context(ca: Secret | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    pem = _text("NATS_TLS_CA", ca.reveal(), _PEM)
    try:
        context = ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise LoginError("NATS_TLS_CA", "it holds no certificate in PEM") from None
    # Python 3.13 refuses CAs that `openssl req -x509` makes, because they lack the key usage extension. A deployer who
    # names a CA trusts it, and NATS's own clients accept it too.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _load_certificate(context: ssl.SSLContext, cert: Secret, key: Secret | None) -> None:
    def no_passphrase() -> str:
        raise LoginError(
            "NATS_TLS_KEY" if key else "NATS_TLS_CERT", "the key is encrypted: give it without a passphrase"
        )

    with _as_file("NATS_TLS_CERT", cert) as cert_file, _as_file("NATS_TLS_KEY", key) as key_file:
        try:
            context.load_cert_chain(str(cert_file), key_file, password=no_passphrase)
        except ssl.SSLError as error:
            reason = (error.reason or "").replace("_", " ").lower()
            text = f"no certificate in PEM with its private key ({reason or 'malformed'})"
            raise LoginError("NATS_TLS_CERT", text) from None


@contextmanager
def _as_file(variable: str, value: Secret | None) -> Iterator[str | None]:
    """Yields the path of a file that holds the value: Python's TLS reads certificates and keys only from files."""
    if value is None:
        yield None
        return
    text = _text(variable, value.reveal(), _PEM)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # Readable only by this user.
        file.write(text)
        file.flush()
        yield file.name


def _text(variable: str, value: str, mark: str) -> str:
    """Returns the value itself where it contains `mark`, else the text of the file that it names."""
    if mark in value:
        return value.replace("\\n", "\n")  # Some files of variables write a line break as `\n`.
    path = Path(value)
    try:
        if path.exists() and not path.is_file():
            raise LoginError(variable, "it names no regular file")
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise LoginError(variable, "the file holds no text") from None
    except OSError as error:
        raise LoginError(variable, f"the file can't be read: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        if isinstance(error, LoginError):
            raise
        raise LoginError(variable, "it names no file") from None
