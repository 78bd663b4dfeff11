"""Credentials of NATS: how they are read, and the errors of unusable ones."""

from pathlib import Path

import pytest

from payment.adapters.nats.link import ServerAddress, split_credentials
from payment.adapters.nats.login import LoginError, NatsLogin, read_creds, read_nkey_seed, shown_path
from payment.ops.secret import Secret
from payment.settings.values import NOT_SHOWN
from tests.support.servers.nats_identities import Certificates, NKey, Operator


@pytest.mark.parametrize(
    ("url", "plain", "credentials"),
    [
        ("nats://h:4222", "nats://h:4222", {}),
        ("nats://u:p%2Fw%40%3A@h:4222", "nats://h:4222", {"user": "u", "password": "p/w@:"}),
        ("nats://u:@h:4222", "nats://h:4222", {"user": "u", "password": ""}),
        ("tls://to%2Fken@[::1]:4222", "tls://[::1]:4222", {"token": "to/ken"}),
        ("wss://u:100%@h:443/nats", "wss://h:443/nats", {"user": "u", "password": "100%"}),
        ("nats://u:a+b@h:1", "nats://h:1", {"user": "u", "password": "a+b"}),
    ],
)
def test_credentials_are_taken_out_of_a_url_and_decoded(url: str, plain: str, credentials: dict[str, str]) -> None:
    assert split_credentials(url) == (plain, credentials)


def test_a_users_seed_gives_its_public_key() -> None:
    """As NATS's own tools write it: the server identifies the user by it."""
    key = NKey("U")
    assert read_nkey_seed(key.seed).public_key == key.public
    assert read_nkey_seed(f"\n{key.seed} ").public_key == key.public


@pytest.mark.parametrize("kind", ["O", "A"])
def test_a_seed_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(LoginError, match="not of a user"):
        read_nkey_seed(NKey(kind).seed)


def test_a_seed_with_a_wrong_character_is_refused_without_being_shown() -> None:
    seed = NKey("U").seed
    wrong = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
    for text in (wrong, seed[:-2] + "!!", seed[:54]):
        with pytest.raises(LoginError) as raised:
            read_nkey_seed(text)
        assert text not in str(raised.value)
        assert raised.value.variable == "NATS_NKEY_SEED"


def test_a_creds_file_holds_a_jwt_and_a_seed(tmp_path: Path) -> None:
    operator = Operator()
    file = tmp_path / "user.creds"
    file.write_text(operator.creds)
    signer = read_creds(str(file))
    assert signer.public_key == operator.user.public
    assert signer.user_jwt().decode() in operator.creds


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no user JWT"),
        (b"-----BEGIN NATS USER JWT-----\nabc\n", "holds no user JWT"),
        (b"\xff\xfe", "holds no text"),
        (None, "No such file"),
    ],
)
def test_a_file_that_holds_none_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """nats-py's own reader would search the end of such a file for ever."""
    file = tmp_path / "user.creds"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(LoginError, match=words):
        read_creds(str(file))


def test_a_path_that_is_no_file_is_not_waited_for() -> None:
    for path in ("/dev/zero", "/", "a\x00b"):
        with pytest.raises(LoginError):
            read_creds(path)


def test_a_certificate_wants_its_own_key_without_a_passphrase(tmp_path: Path) -> None:
    """OpenSSL would prompt for a passphrase at the terminal, and the service would block."""
    made = Certificates(tmp_path)
    cert, key, other = (Secret(str(file)) for file in (made.client_cert, made.client_key, made.server_key))
    assert NatsLogin(tls_cert=cert, tls_key=key).tls() is not None
    together = Secret(made.client_cert.read_text() + made.client_key.read_text())
    assert NatsLogin(tls_cert=together).tls() is not None
    locked = made.encrypted(made.client_key)
    for login, words in (
        (NatsLogin(tls_cert=cert, tls_key=other), "key values mismatch"),
        (NatsLogin(tls_cert=cert), "NATS_TLS_CERT|no certificate"),
        (NatsLogin(tls_cert=cert, tls_key=Secret(str(locked))), "without a passphrase"),
        (NatsLogin(tls_ca=key), "no certificate in PEM"),
    ):
        with pytest.raises(LoginError, match=words):
            login.tls()


def test_without_any_of_it_nothing_is_made() -> None:
    login = NatsLogin()
    assert (login.signer(), login.tls(), login.wants_tls) == (None, None, False)
    assert ServerAddress("nats://h").tls_name is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/run/secrets/nats.creds", "'/run/secrets/nats.creds'"),
        ("nats.nk", "'nats.nk'"),
        ("SUAM", NOT_SHOWN),
        ("-----BEGIN NATS", NOT_SHOWN),
        ("a/b c", NOT_SHOWN),
    ],
)
def test_only_a_path_is_shown(value: str, shown: str) -> None:
    assert shown_path(value) == shown
