"""Plaid's side of a webhook: its key pair, its tokens and its API for keys, made with the primitives themselves."""

import base64
import hashlib
import json
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

KID = "bfbd5111-8e33-4643-8ced-b2e642a72f3c"
PRIVATE_KEY = ec.derive_private_key(0x1542, ec.SECP256R1())


def encode(part: bytes) -> str:
    """Write bytes as a token does."""
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def make_jwk(key: ec.EllipticCurvePrivateKey = PRIVATE_KEY, **changes: object) -> dict[str, Any]:
    """Make what Plaid gives out for a key."""
    numbers = key.public_key().public_numbers()
    x, y = (encode(number.to_bytes((key.key_size + 7) // 8, "big")) for number in (numbers.x, numbers.y))
    jwk = {"alg": "ES256", "crv": "P-256", "kty": "EC", "use": "sig", "kid": KID, "x": x, "y": y}
    return {**jwk, "created_at": 1_560_466_150, "expired_at": None, **changes}


def make_token(body: bytes, issued_s: float, **changes: object) -> str:
    """Sign a body as Plaid does; a keyword replaces a part of the token's header or claims."""
    header: dict[str, object] = {"alg": "ES256", "kid": KID, "typ": "JWT"}
    claims: dict[str, object] = {"iat": issued_s, "request_body_sha256": hashlib.sha256(body).hexdigest()}
    header |= {name: value for name, value in changes.items() if name in header}
    claims |= {name: value for name, value in changes.items() if name in claims}
    signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    r, s = decode_dss_signature(PRIVATE_KEY.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class KeyServer:
    """Plaid's /webhook_verification_key/get: knows one key, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.status: int | None = None
        self.keys: dict[str, dict[str, Any]] = {KID: make_jwk()}

    async def answer(self, request: web.Request) -> web.Response:
        """Give a key out."""
        self.asked.append(await request.json())
        if self.status is not None:
            return web.Response(status=self.status, text="<html>")
        jwk = self.keys.get(self.asked[-1]["key_id"])
        if jwk is None:
            unknown = {"error_type": "INVALID_INPUT", "error_code": "INVALID_WEBHOOK_VERIFICATION_KEY_ID"}
            return web.json_response(unknown, status=400)
        return web.json_response({"key": jwk, "request_id": "HNTDNrA8F1shFEW"})
