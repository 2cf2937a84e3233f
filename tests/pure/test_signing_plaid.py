"""Plaid's tokens: what is accepted, and what nobody can talk the check into."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from bankfeed.signing import BadSignature, read_plaid_key, read_plaid_kid, verify_plaid
from tests.plaid import KID, encode, make_jwk, make_token

NOW = datetime(2026, 3, 2, 6, 0, 0, tzinfo=UTC)
NOW_S = int(NOW.timestamp())
BODY = b'{\n  "webhook_type": "TRANSACTIONS",\n  "webhook_code": "SYNC_UPDATES_AVAILABLE"\n}'
KEY = read_plaid_key(make_jwk())


def check(token: str, body: bytes = BODY) -> None:
    assert read_plaid_kid(token) == KID
    verify_plaid(token, KEY, body=body, now=NOW)


@pytest.mark.parametrize("age_s", [0, 300, -300])
def test_a_fresh_token_over_the_raw_body_is_accepted(age_s: int) -> None:
    """A token of at most five minutes, ahead or ago, proves the body byte for byte."""
    check(make_token(BODY, NOW_S - age_s))


@pytest.mark.parametrize(
    "issued_s", [NOW_S - 301, NOW_S + 301, float("nan"), float("inf"), 10**400, True, None, str(NOW_S)]
)
def test_any_other_time_is_refused(issued_s: object) -> None:
    """A token that is older, from the future, or without a time that is a number is refused."""
    with pytest.raises(BadSignature):
        check(make_token(BODY, NOW_S, iat=issued_s))


def test_another_body_is_refused() -> None:
    """One blank more, which JSON would not notice, is another body."""
    with pytest.raises(BadSignature, match="SHA-256"):
        check(make_token(BODY, NOW_S), BODY + b" ")


@pytest.mark.parametrize("sha256", [None, "", "é", 7, hashlib.sha256(b"other").hexdigest()])
def test_a_wrong_hash_is_refused(sha256: object) -> None:
    """A token without the body's SHA-256 proves nothing about it."""
    with pytest.raises(BadSignature):
        check(make_token(BODY, NOW_S, request_body_sha256=sha256))


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "RS256", "ES384", "es256", "", None])
def test_any_other_algorithm_is_refused(algorithm: str | None) -> None:
    """The token does not choose its algorithm."""
    with pytest.raises(BadSignature, match="ES256"):
        read_plaid_kid(make_token(BODY, NOW_S, alg=algorithm))


def test_the_public_key_is_no_shared_secret() -> None:
    """A token signed by HMAC with the public key, the classic confusion, is refused though it says ES256."""
    claims = {"iat": NOW_S, "request_body_sha256": hashlib.sha256(BODY).hexdigest()}
    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "ES256", "kid": KID}, claims))
    secret = base64.urlsafe_b64decode(make_jwk()["x"] + "=")
    with pytest.raises(BadSignature):
        check(f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}")


def test_another_key_is_refused() -> None:
    """Only the key that is named counts."""
    other = ec.derive_private_key(7, ec.SECP256R1())
    claims = {"iat": NOW_S, "request_body_sha256": hashlib.sha256(BODY).hexdigest()}
    with pytest.raises(BadSignature):
        check(jwt.encode(claims, other, algorithm="ES256", headers={"kid": KID}))


@pytest.mark.parametrize("kid", [None, "", 7, "é", "a\n", "x" * 65, ["a"]])
def test_a_token_names_its_key(kid: object) -> None:
    """A key's id is short and printable, or the token is refused before anyone is asked for it."""
    with pytest.raises(BadSignature):
        read_plaid_kid(make_token(BODY, NOW_S, kid=kid))


@pytest.mark.parametrize("token", [None, "", ".", "..", "a.b.c", "é.é.é", "\udcff", "[" * 4_000, "a" * 8_000])
def test_what_is_no_token_is_refused(token: str | None) -> None:
    """A missing or malformed token is a bad signature, never another error."""
    with pytest.raises(BadSignature):
        read_plaid_kid(token)


@pytest.mark.parametrize(("expired_s", "is_good"), [(None, True), (NOW_S + 1, True), (NOW_S, False), (1, False)])
def test_a_key_signs_until_it_expires(expired_s: int | None, is_good: bool) -> None:  # noqa: FBT001 - a table of cases
    """A key that Plaid has retired accepts nothing from that moment on."""
    key = read_plaid_key(make_jwk(expired_at=expired_s))
    token = make_token(BODY, NOW_S)
    if is_good:
        verify_plaid(token, key, body=BODY, now=NOW)
    else:
        with pytest.raises(BadSignature):
            verify_plaid(token, key, body=BODY, now=NOW)


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        make_jwk(kid=None),
        make_jwk(crv="P-384"),
        make_jwk(kty="oct", k="AAAA"),
        make_jwk(x="AAAA"),
        make_jwk(y=7),
        make_jwk(expired_at="soon"),
        make_jwk(ec.derive_private_key(7, ec.SECP384R1()), crv="P-384"),
    ],
)
def test_only_keys_of_the_curve_are_read(jwk: dict[str, object]) -> None:
    """A key of another kind, a point off the curve, or one without an id cannot be used."""
    with pytest.raises(ValueError, match="P-256"):
        read_plaid_key(jwk)
