"""Standard Webhooks v1a: Ed25519, signed here with the primitive itself."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest
import standardwebhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from bankfeed.signing import (
    BadSignature,
    build_headers,
    new_secret,
    new_signing_key,
    sign_v1,
    sign_v1a,
    verify_standard,
)

NOW = datetime(2026, 3, 2, 6, 0, 0, tzinfo=UTC)
BODY = '{"eventType": "accountAdded", "name": "Café"}'.encode()
ID = "evt_1542"
OLD = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NEW = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
PAIR, EARLIER = (new_signing_key(bytes(range(n, n + 32))) for n in (0, 32))  # of OLD and of NEW
SECRET, EARLIER_SECRET = (new_secret(bytes(range(n, n + 32))) for n in (64, 96))


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


# what we sign


def signed_text(*, message_id: str = ID, at: datetime = NOW, body: bytes = BODY) -> bytes:
    return f"{message_id}.{int(at.timestamp())}.".encode() + body


def read_signatures(sent: Mapping[str, str], scheme: str) -> list[bytes]:
    """Base64 of one scheme, as the specification writes several: parted by a blank."""
    parts = (each.split(",", 1) for each in sent["webhook-signature"].split(" "))
    return [base64.b64decode(text, validate=True) for name, text in parts if name == scheme]


def test_a_key_pair_is_written_as_the_specification_says() -> None:
    """whsk_ and whpk_ with base64 behind; the private one is the seed and the public key, the public one 32 bytes."""
    pair = new_signing_key(bytes(range(32)))
    assert pair.public == public(OLD)
    assert pair.private == "whsk_" + base64.b64encode(bytes(range(32)) + OLD.public_key().public_bytes_raw()).decode()


def test_a_key_pair_prints_its_public_half_only() -> None:
    """However a pair is printed, the private key is not in it."""
    pair = new_signing_key(bytes(range(32)))
    assert pair.public in repr(pair)
    assert "whsk_" not in repr(pair) + str(pair)


def test_another_implementation_signs_alike() -> None:
    """The vector of Svix's own server (worker.rs, test_asymmetric_key_signing): Ed25519 has one signature for a text."""
    key = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    theirs = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
    at = datetime.fromtimestamp(1_614_265_330, UTC)
    assert new_signing_key(base64.b64decode(key)[:32]).private == f"whsk_{key}"
    assert theirs == sign_v1a(
        f"whsk_{key}", message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", at=at, body=b'{"test": 2432232314}'
    )


@given(
    seed=st.binary(min_size=32, max_size=32),
    message_id=st.uuids().map(str),
    body=st.binary(max_size=300),
    seconds=st.integers(0, 4_000_000_000),
)
def test_ours_verifies_with_the_primitive(seed: bytes, message_id: str, body: bytes, seconds: int) -> None:
    """Any id, time and body: the public key that is published verifies "<id>.<seconds>.<body>"."""
    pair, at = new_signing_key(seed), datetime.fromtimestamp(seconds, UTC)
    signature = sign_v1a(pair.private, message_id=message_id, at=at, body=body)
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(pair.public.removeprefix("whpk_")))
    key.verify(base64.b64decode(signature.removeprefix("v1a,")), signed_text(message_id=message_id, at=at, body=body))


def test_a_key_without_its_public_half_signs_alike() -> None:
    """The specification leaves open whether the public key stands behind the seed."""
    seed_only = "whsk_" + base64.b64encode(bytes(range(32))).decode()
    assert sign(OLD) == sign_v1a(seed_only, message_id=ID, at=NOW, body=BODY)
    assert sign(OLD) == sign_v1a(PAIR.private, message_id=ID, at=NOW, body=BODY)


@pytest.mark.parametrize(
    "private",
    [
        "",
        "whsk_",
        "whsk_AAAA",
        "whsk_é",
        "whsk_tell-nobody",
        SECRET,
        public(OLD),
        "whsk_" + base64.b64encode(bytes(range(32)) + NEW.public_key().public_bytes_raw()).decode(),
    ],
)
def test_a_private_key_that_is_none_signs_nothing(private: str) -> None:
    """Another kind of key, and a public half of another seed, are refused without a word of them."""
    with pytest.raises(ValueError, match="expected") as raised:
        sign_v1a(private, message_id=ID, at=NOW, body=BODY)
    assert not private[5:] or private[5:] not in repr(raised.value)


def test_a_time_without_a_zone_is_refused() -> None:
    """It would be taken for this machine's own."""
    with pytest.raises(ValueError, match="expected a time with a zone"):
        sign_v1a(PAIR.private, message_id=ID, at=datetime(2026, 3, 2), body=BODY)  # noqa: DTZ001 - what is refused


def send(*, at: datetime = NOW) -> dict[str, str]:
    """The headers of an attempt while a rotation overlaps: two secrets and two pairs."""
    return build_headers(
        [SECRET, EARLIER_SECRET], message_id=ID, at=at, body=BODY, private_keys=[PAIR.private, EARLIER.private]
    )


def test_during_a_rotation_all_sign_over_the_same() -> None:
    """Four signatures, each scheme's current key first, all over the one id, time and body."""
    sent = send()
    assert {"webhook-id": ID, "webhook-timestamp": str(int(NOW.timestamp()))} == {
        name: sent[name] for name in ("webhook-id", "webhook-timestamp")
    }
    assert ["v1", "v1", "v1a", "v1a"] == [each.split(",")[0] for each in sent["webhook-signature"].split(" ")]
    for key, signature in zip((OLD, NEW), read_signatures(sent, "v1a"), strict=True):
        key.public_key().verify(signature, signed_text())


@pytest.mark.parametrize("key", [SECRET, EARLIER_SECRET, PAIR.public, EARLIER.public])
def test_during_a_rotation_one_known_key_is_enough(key: str) -> None:
    """Whoever knows one of the secrets, or one of the public keys, accepts."""
    assert ID == verify_standard([key], send(), body=BODY, now=NOW)


@pytest.mark.parametrize("secret", [SECRET, EARLIER_SECRET])
def test_the_referee_passes_over_what_it_does_not_know(secret: str) -> None:
    """The reference library finds the v1 signature of its secret beside those of v1a."""
    standardwebhooks.Webhook(secret).verify(BODY, send(at=datetime.now(UTC)))


@pytest.mark.parametrize(
    ("changed", "body"),
    [
        ({}, BODY + b" "),
        ({}, BODY.replace(b"Caf", b"caf")),
        ({"webhook-id": "evt_1543"}, BODY),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, BODY),
        ({"webhook-id": "evt", "webhook-timestamp": "1542"}, BODY),
    ],
)
@pytest.mark.parametrize("key", [SECRET, PAIR.public])
def test_whatever_is_changed_is_refused(key: str, changed: dict[str, str], body: bytes) -> None:
    """Body, id and time are all signed, in both schemes: ours refuses, and so does the primitive."""
    sent = {**send(), **changed}
    with pytest.raises(BadSignature):
        verify_standard([key], sent, body=body, now=NOW)
    seen = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + body
    with pytest.raises(InvalidSignature):
        OLD.public_key().verify(read_signatures(sent, "v1a")[0], seen)


@pytest.mark.parametrize("stranger", [new_signing_key(bytes(32)).public, new_secret(bytes(32))])
def test_a_strangers_key_accepts_nothing(stranger: str) -> None:
    """Neither kind of another endpoint's key verifies this one's webhooks."""
    with pytest.raises(BadSignature):
        verify_standard([stranger], send(), body=BODY, now=NOW)
