"""How Plaid signs: a JWT in the header Plaid-Verification that carries the SHA-256 of the body. Pure.

The algorithm is ES256 and nothing else, whatever the token says. The token names its key, which Plaid gives out; fetching
it is not done here. Source: Plaid's page "Verify webhooks".
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from jwt.types import Options

from bankfeed.signing.headers import TOLERANCE_S, BadSignature, check_age, has_match

ALGORITHM: Final = "ES256"
_MAX_TOKEN_CHARS: Final = 4096
_MAX_KID_CHARS: Final = 64
# No claim is the library's to judge: it would look at the clock.
_JUDGE_NO_CLAIM: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
_MALFORMED: Final = (jwt.PyJWTError, ValueError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaidKey:
    """One of Plaid's public keys. `expired_s` is since when it signs no more, in seconds since 1970; None while it does."""

    kid: str
    expired_s: int | None
    public_key: EllipticCurvePublicKey = field(repr=False)


def read_plaid_kid(token: str | None) -> str:
    """Return the id of the key that a token says it was signed with; nothing is proven by it yet.

    Raises BadSignature for what is no token, and for any algorithm but ES256. `token` is None where it is missing.
    """
    if token is None:
        raise BadSignature("the header Plaid-Verification is missing")
    try:
        header = jwt.get_unverified_header(token) if len(token) <= _MAX_TOKEN_CHARS else {}
    except _MALFORMED as error:
        raise BadSignature("expected Plaid-Verification to be a JWT") from error
    kid = header.get("kid")
    if header.get("alg") != ALGORITHM:
        raise BadSignature(f"expected Plaid-Verification to be signed with {ALGORITHM}")
    if not (isinstance(kid, str) and kid.isascii() and kid.isprintable() and 1 <= len(kid) <= _MAX_KID_CHARS):
        raise BadSignature(f"expected the key of Plaid-Verification to be named by 1 to {_MAX_KID_CHARS} characters")
    return kid


def read_plaid_key(jwk: Mapping[str, Any]) -> PlaidKey:
    """Read a key as Plaid gives it out. Raises ValueError unless it is one on the curve P-256 with an id."""
    try:
        public_key = jwt.PyJWK(dict(jwk), algorithm=ALGORITHM).key
    except (*_MALFORMED, KeyError) as error:
        raise ValueError("expected a JWK of the curve P-256") from error
    kid, expired_s = jwk.get("kid"), jwk.get("expired_at")
    is_named = isinstance(kid, str) and (expired_s is None or isinstance(expired_s, int))
    if not (is_named and isinstance(public_key, EllipticCurvePublicKey) and public_key.curve.name == "secp256r1"):
        raise ValueError("expected a JWK of the curve P-256 with kid and expired_at")
    return PlaidKey(kid=str(kid), public_key=public_key, expired_s=expired_s)


def verify_plaid(token: str, key: PlaidKey, *, body: bytes, now: datetime, tolerance_s: int = TOLERANCE_S) -> None:
    """Check a token with the key that it names: signature, age, and the SHA-256 of the body. Raises BadSignature."""
    if key.expired_s is not None and key.expired_s <= now.timestamp():
        raise BadSignature("the key signs no more")
    try:
        claims = jwt.decode(token, key.public_key, algorithms=[ALGORITHM], options=_JUDGE_NO_CLAIM)
    except _MALFORMED as error:
        raise BadSignature("the signature was not made with the key that it names") from error
    issued_s, sha256 = claims.get("iat"), claims.get("request_body_sha256")
    if isinstance(issued_s, bool) or not isinstance(issued_s, int | float) or not isinstance(sha256, str):
        raise BadSignature("expected Plaid-Verification to carry iat and request_body_sha256")
    check_age(issued_s, now, name="iat", tolerance_s=tolerance_s)
    if not has_match([hashlib.sha256(body).hexdigest()], [sha256]):
        raise BadSignature("expected request_body_sha256 to be the SHA-256 of the body")
