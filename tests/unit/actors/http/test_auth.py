"""`payment.actors.http.auth`: a token of the platform, in a header or a cookie, identifies the user."""

import base64
import hashlib
import hmac
import json
import warnings
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment.actors.http.auth import (
    COOKIE_CHARS_MAX,
    TOKEN_CHARS_MAX,
    WRONG_SIGNATURES,
    AuthenticatedUser,
    NotAuthenticated,
    PlatformJws,
    SignatureDoubt,
    SignatureWrong,
    authenticate,
)

KEY = "asdf"
KEYS = (KEY,)
NOW = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
CLAIMS = {"id": "u1", "email": "a@b.c", "iat": NOW_S}
ME = AuthenticatedUser("u1")


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(payload: bytes, header: Any = None, key: str = KEY) -> str:
    """A token whose header and payload may be anything at all, with a valid signature."""
    text = f"{part(json.dumps(header or {'alg': 'HS256', 'typ': 'JWT'}).encode())}.{part(payload)}"
    return f"{text}.{part(hmac.digest(key.encode(), text.encode(), hashlib.sha256))}"


def token(**changes: Any) -> str:
    return signed(json.dumps(CLAIMS | changes).encode())


def bearer(text: str, key: str = KEY) -> AuthenticatedUser:
    return authenticate(f"Bearer {text}", None, (key,), NOW)


def session(content: Any) -> bytes:
    return base64.b64encode(json.dumps(content).encode())


def cookie(header: str) -> AuthenticatedUser:
    return authenticate(None, header, KEYS, NOW)


def refused(authorization: str | None = None, cookies: str | None = None) -> str:
    with pytest.raises(NotAuthenticated) as raised:
        authenticate(authorization, cookies, KEYS, NOW)
    assert str(raised.value) == raised.value.reason
    return raised.value.reason


def test_a_token_that_was_good_is_judged_again_by_its_times_and_key() -> None:
    """Only that its signature is right is remembered."""
    text = token(exp=NOW_S + 60)
    assert bearer(text) == bearer(text) == ME
    with pytest.raises(NotAuthenticated, match="expired"):
        authenticate(f"Bearer {text}", None, KEYS, datetime.fromtimestamp(NOW_S + 60, UTC))
    with pytest.raises(NotAuthenticated, match="signature"):
        bearer(text, "another key")
    assert bearer(text) == ME


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_a_bearer_token_identifies_the_user(scheme: str) -> None:
    """The scheme's messages may be of any case."""
    assert authenticate(scheme + token(), None, KEYS, NOW) == ME


def test_tokens_of_the_platforms_libraries_are_taken() -> None:
    """A token made by another library with the same key is valid."""
    key = "a key that is long enough for every library"
    assert bearer(jwt.encode(CLAIMS, key, algorithm="HS256"), key) == ME


def test_a_short_key_works_in_silence() -> None:
    """The platform's keys are short: no request may warn about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bearer(token()) == ME


@pytest.mark.parametrize("name", ["session", "express:sess"])
@pytest.mark.parametrize("claims", [{}, {"name": "?>?>?>"}, {"name": "ÿÿÿ~~~"}])
def test_the_session_cookie_identifies_the_user(name: str, claims: Any) -> None:
    """Both names, either alphabet, with or without padding."""
    content = {"jwt": token(**claims), "?>~": "?>?>ÿ~~"}
    standard = base64.b64encode(json.dumps(content, ensure_ascii=False).encode()).decode()
    for value in (standard, standard.rstrip("="), standard.translate(str.maketrans("+/", "-_")).rstrip("=")):
        assert cookie(f"{name}={value}") == ME
        assert cookie(f'a=b;{name}="{value}" ; c; =d') == ME


def test_the_bearer_token_excludes_the_cookie() -> None:
    """A client that sends a token is judged by it alone; another scheme in the header is not ours."""
    cookies = f"session={session({'jwt': token()}).decode()}"
    refused("Bearer nonsense", cookies)
    assert authenticate("Basic dTpw", cookies, KEYS, NOW) == ME


def test_a_neighbours_cookie_of_the_same_name_does_no_harm() -> None:
    """The first session cookie that holds a valid token counts, among a few."""
    good = f"express:sess={session({'jwt': token()}).decode()}"
    assert cookie(f"session=eyJ1Ijp7fX0.neighbour; {good}") == ME
    refused(cookies="; ".join(["session=x"] * 4 + [good]))


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer ", "Basic dTpw", "Bearer x", "Bearer a.b.c", "é"]
)
def test_without_a_token_no_user_is_known(authorization: str | None) -> None:
    """F37: missing and malformed headers are refused."""
    refused(authorization)


@pytest.mark.parametrize("alg", ["none", "None", "HS384", "HS512", "RS256", "ES256", "", None, 5, [], ["HS256"], {}])
def test_no_other_algorithm_counts(alg: object) -> None:
    """F37: what the token says of its own algorithm is only ever compared with HS256."""
    header = {"alg": alg, "typ": "JWT"}
    refused(f"Bearer {signed(json.dumps(CLAIMS).encode(), header)}")
    refused(f"Bearer {part(json.dumps(header).encode())}.{part(json.dumps(CLAIMS).encode())}.")


def test_a_forged_token_is_refused() -> None:
    """F37: another key, a changed payload, or a missing signature."""
    head, payload, signature = token().split(".")
    other = part(json.dumps(CLAIMS | {"id": "u2"}).encode())
    forged = signed(json.dumps(CLAIMS).encode(), key="other")
    for text in (forged, f"{head}.{other}.{signature}", f"{head}.{payload}.", f"{head}.{payload}"):
        refused(f"Bearer {text}")


@pytest.mark.parametrize(
    "header", [{"alg": "HS256", "crit": ["x"]}, {"alg": "HS256", "b64": False}, {"alg": "HS256", "kid": 5}, [1]]
)
def test_a_header_that_can_not_be_understood_is_refused(header: object) -> None:
    """F37: extensions that must be understood and are not."""
    refused(f"Bearer {signed(json.dumps(CLAIMS).encode(), header)}")


@pytest.mark.parametrize(
    ("exp", "known"), [(NOW_S + 1, True), (NOW_S + 0.5, True), (NOW_S, False), (NOW_S - 0.5, False), (0, False)]
)
def test_a_token_ends_when_it_expires(exp: float, known: bool) -> None:
    """F37: by the clock that is passed in, to the fraction of a second."""
    if known:
        assert bearer(token(exp=exp)) == ME
    else:
        assert "expired" in refused(f"Bearer {token(exp=exp)}")


@pytest.mark.parametrize(("nbf", "known"), [(NOW_S, True), (NOW_S - 0.5, True), (NOW_S + 0.5, False), (10**30, False)])
def test_a_token_begins_when_it_says(nbf: float, known: bool) -> None:
    """F37: by the clock that is passed in."""
    if known:
        assert bearer(token(nbf=nbf)) == ME
    else:
        assert "not valid yet" in refused(f"Bearer {token(nbf=nbf)}")


def test_no_other_clock_is_asked() -> None:
    """A token of long ago is valid when it is long ago."""
    past = datetime(2001, 1, 1, tzinfo=UTC)
    text = token(exp=past.timestamp() + 1, nbf=past.timestamp(), iat=2**40)
    assert authenticate(f"Bearer {text}", None, KEYS, past) == ME


@pytest.mark.parametrize("value", ["soon", None, True, [], {}, "1e9"])
@pytest.mark.parametrize("claim", ["exp", "nbf"])
def test_a_time_that_is_no_number_is_refused(claim: str, value: object) -> None:
    """F37: a limit that can't be read is not taken for no limit."""
    refused(f"Bearer {token(**{claim: value})}")


@pytest.mark.parametrize(
    "user_id", [None, 7, "", " ", True, [], {"$ne": None}, "x" * 256, "a\0"], ids=lambda value: repr(value)[:9]
)
def test_a_token_must_name_a_user(user_id: object) -> None:
    """F37: an id that is a number, empty or too long identifies no user."""
    assert "names no user" in refused(f"Bearer {token(id=user_id)}")


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"null", b"\xff", b"{", b"[" * 1000, b'{"id": NaN}', b'{"id": "\\ud800 "}']
)
def test_claims_that_are_no_object_are_refused(payload: bytes) -> None:
    """F37: even where the signature is right."""
    refused(f"Bearer {signed(payload)}")


def test_an_oversized_token_or_cookie_is_refused_by_its_size() -> None:
    """F37: no work is spent on it."""
    assert refused(f"Bearer {token(pad='x' * TOKEN_CHARS_MAX)}") == "the token is too long"
    assert refused(cookies="session=" + "x" * COOKIE_CHARS_MAX) == "the Cookie header is too long"
    big = {"jwt": token(pad="x" * (TOKEN_CHARS_MAX // 4 * 3))}
    assert refused(cookies="session=" + session(big).decode()) == "the token is too long"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "=",
        "x",
        "????",
        "é",
        "e30",
        "W10=",
        "bnVsbA==",
        "\udcff",
        "eyJqd3QiOjV9",
        "e3",
        "e30=e30=",
        '"',
        "eyJqd3QiOiJ4In0=",
    ],
)
def test_a_malformed_session_is_refused(value: str) -> None:
    """F37: not base64, not JSON, no object, no token in it."""
    refused(cookies=f"session={value}")


def test_a_reason_shows_nothing_of_what_was_sent() -> None:
    """F37: neither token nor cookie reaches a log through the reason."""
    for text in ("Bearer hunter2", f"Bearer {signed(b'hunter2')}", f"Bearer {token(exp='hunter2')}"):
        assert "hunter2" not in refused(text)
    assert "hunter2" not in refused(cookies="session=hunter2")


_CLAIMS = st.dictionaries(
    st.sampled_from(["id", "exp", "nbf", "iat", "sub", "aud", "jti"]),
    st.none() | st.integers() | st.floats() | st.text(max_size=300),
)
_TOKENS = st.builds(
    lambda claims, header: signed(json.dumps(claims).encode(), header),
    _CLAIMS,
    st.none()
    | st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), st.text() | st.booleans() | st.lists(st.text())
    ),
)
_SESSIONS = st.one_of(
    st.text(),
    st.binary().map(base64.b64encode).map(bytes.decode),
    _TOKENS.map(lambda text: session({"jwt": text}).decode()),
)


@given(
    st.binary(max_size=12)
    | st.text("AZaz09-_+/=", max_size=12).map(str.encode)
    | st.binary(max_size=12).map(base64.urlsafe_b64encode)
    | st.binary(max_size=12).map(lambda content: base64.urlsafe_b64encode(content).rstrip(b"="))
)
def test_a_tokens_parts_are_read_as_the_library_reads_them(segment: bytes) -> None:
    """Only faster: padded, cut off, in another alphabet, or with bits that no decoder reads."""

    def read(jws: type[jwt.PyJWS]) -> bytes | str:
        try:
            return jws._decode_base64url_segment(segment, "payload")
        except jwt.DecodeError as error:
            return str(error)

    assert read(PlatformJws) == read(jwt.PyJWS)


@given(st.none() | st.text() | st.text().map("Bearer {}".format) | _TOKENS.map("Bearer {}".format))
def test_any_authorization_is_an_identity_or_not_authenticated(authorization: str | None) -> None:
    """F37: nothing else comes of any header."""
    with suppress(NotAuthenticated):
        assert authenticate(authorization, None, KEYS, NOW).user_id


@given(st.text() | st.builds("{}={}".format, st.sampled_from(["session", "express:sess", "a"]), _SESSIONS))
def test_any_cookie_is_an_identity_or_not_authenticated(header: str) -> None:
    """F37: nothing else comes of any cookie."""
    with suppress(NotAuthenticated):
        assert cookie(header).user_id


def test_while_a_key_is_being_changed_tokens_of_both_are_good() -> None:
    """`JWT_KEY_PREVIOUS`: no user is logged out; a token with a third key is forged."""
    keys = ("the new key", KEY)
    payload = json.dumps(CLAIMS).encode()
    for key in keys:
        for _ in range(2):  # the second time from the cache
            assert authenticate(f"Bearer {signed(payload, key=key)}", None, keys, NOW) == ME
    with pytest.raises(SignatureWrong):
        authenticate(f"Bearer {signed(payload, key='another key')}", None, keys, NOW)


def test_a_token_that_was_good_by_a_key_is_not_good_without_it() -> None:
    """The cache knows tokens together with the keys that they were checked with."""
    text = f"Bearer {token()}"
    assert authenticate(text, None, ("the new key", KEY), NOW) == ME
    with pytest.raises(NotAuthenticated):
        authenticate(text, None, ("the new key",), NOW)


# When the service's own key is in doubt.


def test_a_key_with_which_no_signature_is_right_is_reported_once() -> None:
    """After ten tokens: then it is hardly the tokens that are forged."""
    doubt = SignatureDoubt()
    reported = [doubt.key_seems_wrong(SignatureWrong()) for _ in range(3 * WRONG_SIGNATURES)]
    assert reported.index(True) == WRONG_SIGNATURES - 1
    assert reported.count(True) == 1


def test_one_good_token_shows_that_the_key_is_right() -> None:
    """Wrong signatures that come later are forged."""
    doubt = SignatureDoubt()
    doubt.key_seems_wrong(SignatureWrong())
    doubt.token_was_valid()
    assert not any(doubt.key_seems_wrong(SignatureWrong()) for _ in range(3 * WRONG_SIGNATURES))


def test_other_failures_leave_the_key_out_of_doubt() -> None:
    """A request without a token, or with a malformed one, is a client\'s fault."""
    doubt = SignatureDoubt()
    assert not any(doubt.key_seems_wrong(NotAuthenticated("no token was sent")) for _ in range(3 * WRONG_SIGNATURES))
