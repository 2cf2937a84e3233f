"""TxPUSH's signature, made here with hmac itself."""

import base64
import hashlib
import hmac

import pytest

from bankfeed.signing import BadSignature, sign_txpush, txpush_text, verify_txpush

BODY = b'{"event": {"class": "transaction", "records": []}}'
PATTERN = "{content_type}{host}{body}"
ENCODED = base64.b64encode(BODY).decode()
TEXT = f"application/jsonhooks.example{ENCODED}".encode()
DIGEST = hmac.new(b"a subscription's key", TEXT, hashlib.sha256).digest()


def text(pattern: str, *, content_type: str = "application/json", host: str = "hooks.example") -> bytes:
    return txpush_text(pattern, content_type=content_type, host=host, body=BODY)


def test_the_pattern_says_what_is_signed() -> None:
    """Order and what stands between are the pattern's; the body is in Base64."""
    assert text(PATTERN) == TEXT
    assert text("{body}.{host}.{content_type}") == f"{ENCODED}.hooks.example.application/json".encode()


def test_a_header_that_holds_a_place_is_only_text() -> None:
    """What a sender writes into a header is never taken for a part of the pattern."""
    assert text(PATTERN, host="{body}") == f"application/json{{body}}{ENCODED}".encode()
    assert text(PATTERN, host="\udcff") == b"application/json\xff" + ENCODED.encode()


@pytest.mark.parametrize(
    "written", [DIGEST.hex(), DIGEST.hex().upper(), f" {DIGEST.hex()} ", base64.b64encode(DIGEST).decode()]
)
def test_hex_and_base64_are_accepted(written: str) -> None:
    """The signature is accepted with either of two live keys, in hex of either case and in Base64."""
    verify_txpush(["another key", "a subscription's key"], TEXT, header_value=written)


def test_ours_is_the_plain_hmac() -> None:
    """What we sign with is the lower-case hex HMAC-SHA256."""
    assert sign_txpush("a subscription's key", TEXT) == DIGEST.hex()


@pytest.mark.parametrize("value", [None, "", "é", "\udcff", "00", DIGEST.hex()[:-1], sign_txpush("other", TEXT)])
def test_a_wrong_signature_is_refused(value: str | None) -> None:
    """A missing, malformed or foreign value is a bad signature, and without a key nothing is right."""
    with pytest.raises(BadSignature):
        verify_txpush(["a subscription's key"], TEXT, header_value=value)
    with pytest.raises(BadSignature):
        verify_txpush([], TEXT, header_value=DIGEST.hex())
