"""Standard Webhooks v1a: Ed25519, signed here with the primitive itself."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bankfeed.signing import BadSignature, new_secret, sign_v1, verify_standard

NOW = datetime(2026, 3, 2, 6, 0, 0, tzinfo=UTC)
BODY = '{"eventType": "accountAdded", "name": "Café"}'.encode()
ID = "evt_1542"
OLD = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEW = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
SECRET = new_secret(bytes(range(64, 96)))


def public(key: Ed25519PrivateKey) -> str:
    return "whpk_" + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def sign(key: Ed25519PrivateKey, body: bytes = BODY) -> str:
    signed = f"{ID}.{int(NOW.timestamp())}.".encode() + body
    return "v1a," + base64.b64encode(key.sign(signed)).decode()


def headers(*signatures: str) -> Mapping[str, str]:
    stamp = str(int(NOW.timestamp()))
    return {"webhook-id": ID, "webhook-timestamp": stamp, "webhook-signature": " ".join(signatures)}


def check(signatures: Sequence[str], keys: Sequence[str], body: bytes = BODY) -> str:
    return verify_standard(keys, headers(*signatures), body=body, now=NOW)


@pytest.mark.parametrize("signer", [OLD, NEW])
def test_a_public_key_of_several_accepts(signer: Ed25519PrivateKey) -> None:
    """While two public keys are live, a message signed with either is accepted."""
    assert check([sign(signer)], [public(NEW), public(OLD)]) == ID


def test_secrets_and_public_keys_stand_side_by_side() -> None:
    """A sender may change over from a secret to a key pair: both kinds are live at once."""
    keys = [SECRET, public(OLD)]
    assert check([sign_v1(SECRET, message_id=ID, at=NOW, body=BODY)], keys) == ID
    assert check([sign(OLD)], keys) == ID


@pytest.mark.parametrize(
    "signature",
    [
        sign(NEW),
        sign(OLD, BODY + b" "),
        sign(OLD).replace("v1a,", "v1,"),
        sign(OLD).replace("v1a,", "v1A,"),
        sign(OLD)[:-4],
        "v1a,",
        "v1a",
        "v1a,é",
        "v1a,\udcff",
        "v1a," + base64.b64encode(bytes(64)).decode(),
    ],
)
def test_a_wrong_signature_is_refused(signature: str) -> None:
    """A signature of another key, of another body, under another scheme's name or malformed is a bad signature."""
    with pytest.raises(BadSignature):
        check([signature], [public(OLD)])


def test_a_public_key_is_no_secret() -> None:
    """Who knows the public key cannot sign with it as if it were a v1 secret."""
    forged = sign_v1(public(OLD).removeprefix("whpk_"), message_id=ID, at=NOW, body=BODY)
    with pytest.raises(BadSignature):
        check([forged], [public(OLD)])


@pytest.mark.parametrize("key", ["whpk_", "whpk_AAAA", "whpk_%%%", "whpk_é"])
def test_a_malformed_public_key_is_our_own_fault(key: str) -> None:
    """A key that is no base64 of 32 bytes accepts nothing, and is not the sender's error."""
    with pytest.raises(ValueError, match="expected a public key"):
        check([sign(OLD)], [key])
