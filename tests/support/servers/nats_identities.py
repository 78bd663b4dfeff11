"""Identities that operators of NATS create with `nsc`, `nk` and `openssl`: nkeys, user JWTs, a CA and certificates.
Only for tests.

The encodings: https://github.com/nats-io/nkeys (strkey.go, crc16.go) and https://github.com/nats-io/jwt (v2).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from tests.support.servers.process import LOOPBACK
from tests.support.servers.requirements import require_program

PREFIXES = {"O": 14 << 3, "A": 0, "U": 20 << 3}
SEED = 18 << 3
NO_LIMITS = {"subs": -1, "data": -1, "payload": -1}


class NKey:
    """A pair of keys: of an operator (O), an account (A) or a user (U)."""

    def __init__(self, kind: str) -> None:
        self._key = SigningKey.generate()
        prefix = PREFIXES[kind]
        self.public = _encoded(bytes([prefix]) + bytes(self._key.verify_key))
        self.seed = _encoded(bytes([SEED | prefix >> 5, (prefix & 31) << 3]) + bytes(self._key))

    def signed(self, subject: str, name: str, **nats: Any) -> str:
        """Returns a JWT about a subject, signed with this key."""
        claims: dict[str, Any] = {"iat": int(time.time()), "iss": self.public, "sub": subject}
        claims |= {"name": name, "nats": nats}
        digest = hashlib.sha256(json.dumps(claims).encode()).digest()
        claims["jti"] = base64.b32encode(digest).decode().rstrip("=")
        parts = [_url64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)]
        text = ".".join(parts)
        return f"{text}.{_url64(self._key.sign(text.encode()).signature)}"


class Operator:
    """An operator with one account and one user. `config` is the server's, `creds` the user's `.creds` file."""

    def __init__(self) -> None:
        operator, account, self.user = NKey("O"), NKey("A"), NKey("U")
        limits = {**NO_LIMITS, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": True}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        own = operator.signed(operator.public, "operator", type="operator", version=2)
        of_account = operator.signed(
            account.public, "account", type="account", version=2, limits={**limits, **storage}, default_permissions={}
        )
        system = NKey("A")
        of_system = operator.signed(
            system.public, "SYS", type="account", version=2, limits=limits, default_permissions={}
        )
        of_user = account.signed(self.user.public, "user", type="user", version=2, pub={}, sub={}, **NO_LIMITS)
        self.config = (
            f"operator: {own}\nresolver: MEMORY\nsystem_account: {system.public}\n"
            f"resolver_preload: {{ {account.public}: {of_account}\n {system.public}: {of_system} }}\n"
        )
        self.creds = (
            f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.user.seed}\n------END USER NKEY SEED------\n"
        )


class Certificates:
    """A CA, a certificate of a server on loopback, and one of a client, each with its key, in a folder.

    `names` are the server's, as OpenSSL writes them.
    """

    def __init__(self, folder: Path, names: str = f"IP:{LOOPBACK},DNS:localhost") -> None:
        self._folder = folder
        self._openssl = str(require_program("openssl"))
        self._run("req", "-x509", *self._new("ca"), "-subj", "/CN=Test CA", "-days", "2")
        self.ca = folder / "ca.crt"
        self.server_cert, self.server_key = self._signed("server", f"subjectAltName={names}")
        self.client_cert, self.client_key = self._signed("client", "extendedKeyUsage=clientAuth")

    def config(self, *, verify: bool) -> str:
        """Returns the TLS section of the server's configuration; `verify`: clients must have a certificate of the
        CA.
        """
        own = f"cert_file: '{self.server_cert}', key_file: '{self.server_key}'"
        return f"tls {{ {own}, ca_file: '{self.ca}', verify: {str(verify).lower()} }}\n"

    def encrypted(self, key: Path) -> Path:
        """Returns the path of the same key, encrypted with a passphrase."""
        made = key.with_suffix(".locked")
        self._run("pkcs8", "-topk8", "-in", str(key), "-out", str(made), "-passout", "pass:hush")
        return made

    def _new(self, name: str) -> list[str]:
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
        return [*kind, "-keyout", str(self._folder / f"{name}.key"), "-out", str(self._folder / f"{name}.crt")]

    def _signed(self, name: str, extension: str) -> tuple[Path, Path]:
        by = ["-CA", str(self.ca), "-CAkey", str(self._folder / "ca.key")]
        self._run("req", "-x509", *self._new(name), *by, "-subj", f"/CN={name}", "-days", "2", "-addext", extension)
        return self._folder / f"{name}.crt", self._folder / f"{name}.key"

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], check=True, capture_output=True)


def _encoded(data: bytes) -> str:
    checksum = binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data + checksum).decode().rstrip("=")


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
