"""Signatures, with the Standard Webhooks library as referee."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from hypothesis import given, settings
from hypothesis import strategies as st

from bankfeed.signing import (
    BadSignature,
    build_headers,
    new_secret,
    sign_hex_hmac,
    sign_v1,
    verify_hex_hmac,
    verify_standard,
)

OLD = new_secret(bytes(range(32)))
NEW = new_secret(bytes(range(32, 64)))
NOW = datetime(2026, 3, 2, 6, 0, 0, 900_000, tzinfo=UTC)
BODY = '{"eventType": "accountAdded", "name": "Café"}'.encode()
ID = "evt_1542"


def headers(*secrets: str, at: datetime = NOW) -> dict[str, str]:
    return build_headers(secrets, message_id=ID, at=at, body=BODY)


def check(given_headers: Mapping[str, str], *, secrets: tuple[str, ...] = (OLD,), body: bytes = BODY) -> str:
    return verify_standard(secrets, given_headers, body=body, now=NOW)


def test_the_referee_accepts_ours() -> None:
    """A message that we sign now is accepted by the reference library, with either key of a rotation."""
    at = datetime.now(UTC)
    for secret in (OLD, NEW):
        standardwebhooks.Webhook(secret).verify(BODY, headers(OLD, NEW, at=at))


def test_we_accept_the_referee() -> None:
    """A message that the reference library signs is accepted, and it signs as we do."""
    signature = standardwebhooks.Webhook(OLD).sign(ID, NOW, BODY.decode())
    assert signature == sign_v1(OLD, message_id=ID, at=NOW, body=BODY)
    sent = {"webhook-id": ID, "webhook-timestamp": str(int(NOW.timestamp())), "webhook-signature": signature}
    assert check(sent) == ID


def test_a_signature_is_over_id_time_and_body() -> None:
    """The signed text is "<id>.<seconds>.<body>", the key the decoded secret."""
    signed = f"{ID}.{int(NOW.timestamp())}.".encode() + BODY
    digest = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
    assert sign_v1(OLD, message_id=ID, at=NOW, body=BODY) == "v1," + base64.b64encode(digest).decode()


def test_header_names_have_no_case() -> None:
    """Header names are found however they are written."""
    assert check({name.title(): value for name, value in headers(OLD).items()}) == ID


@pytest.mark.parametrize("signed_with", [(OLD,), (NEW,), (OLD, NEW)])
def test_a_rotation_needs_one_common_key(signed_with: tuple[str, ...]) -> None:
    """While two keys are live a message signed with either, or both, is accepted."""
    assert check(headers(*signed_with), secrets=(NEW, OLD)) == ID


def test_a_secret_works_without_its_prefix() -> None:
    """The prefix of a secret is for people; the key is the same without it."""
    assert check(headers(OLD), secrets=(OLD.removeprefix("whsec_"),)) == ID


@pytest.mark.parametrize("seconds", [-300, 0, 299])
def test_a_clock_may_differ(seconds: int) -> None:
    """A message from five minutes ago, or ahead, is accepted."""
    assert check(headers(OLD, at=NOW + timedelta(seconds=seconds))) == ID


@pytest.mark.parametrize("seconds", [-302, 302])
def test_an_old_or_early_message_is_refused(seconds: int) -> None:
    """A message from outside the tolerance is refused even though its signature is right."""
    with pytest.raises(BadSignature, match="within 300 s"):
        check(headers(OLD, at=NOW + timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_1543"},
        {"webhook-id": ""},
        {"webhook-id": "evt_1542\n"},
        {"webhook-id": "é"},
        {"webhook-id": "\udcff"},
        {"webhook-id": "x" * 257},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "٣"},
        {"webhook-timestamp": "9" * 5_000},
        {"webhook-timestamp": "0" + str(int(NOW.timestamp()))},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ",,,"},
        {"webhook-signature": "v1,é\udcff"},
        {"webhook-signature": "v1,not base64"},
        {"webhook-signature": "v1a," + base64.b64encode(bytes(64)).decode()},
        {"webhook-signature": "v1,AAAA " * 2_000},
    ],
)
def test_wrong_headers_are_refused(change: dict[str, str]) -> None:
    """A header that is wrong in any way is a bad signature, never another error."""
    with pytest.raises(BadSignature):
        check({**headers(OLD), **change})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_named(name: str) -> None:
    """A message without one of the three headers is refused, naming it."""
    with pytest.raises(BadSignature, match=name):
        check({key: value for key, value in headers(OLD).items() if key != name})


def test_another_body_is_refused() -> None:
    """One changed byte of the body is a bad signature."""
    with pytest.raises(BadSignature):
        check(headers(OLD), body=BODY + b" ")


def test_another_scheme_beside_ours_is_passed_over() -> None:
    """A signature of a scheme that we do not check may stand beside ours."""
    sent = headers(OLD)
    assert check({**sent, "webhook-signature": "v1a,AAAA " + sent["webhook-signature"]}) == ID


def test_a_header_of_many_signatures_is_not_searched() -> None:
    """Sixteen signatures are looked through; a header with more is refused though one of them is right."""
    right = headers(OLD)["webhook-signature"]
    assert check({**headers(OLD), "webhook-signature": "v1,AAAA " * 15 + right}) == ID
    with pytest.raises(BadSignature, match="at most 16"):
        check({**headers(OLD), "webhook-signature": "v1,AAAA " * 16 + right})


def test_without_a_key_nothing_is_accepted() -> None:
    """A source that has no secret accepts no message."""
    with pytest.raises(BadSignature):
        check(headers(OLD), secrets=())


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_AAAA", "whsec_%%%", "whsec_é", "A" * 400])
def test_a_weak_secret_is_our_own_fault(secret: str) -> None:
    """A secret that is no base64 of 24 to 64 bytes signs nothing and accepts nothing."""
    with pytest.raises(ValueError, match="expected a secret"):
        sign_v1(secret, message_id=ID, at=NOW, body=BODY)
    with pytest.raises(ValueError, match="expected a secret"):
        check(headers(OLD), secrets=(secret,))


def test_a_time_without_zone_is_not_signed() -> None:
    """A naive time would be signed as the machine's local time, so it is refused."""
    with pytest.raises(ValueError, match="zone"):
        sign_v1(OLD, message_id=ID, at=NOW.replace(tzinfo=None), body=BODY)


def test_a_new_secret_is_32_bytes() -> None:
    """A secret shows the random bytes it is given, and takes no other number of them."""
    assert base64.b64decode(OLD.removeprefix("whsec_")) == bytes(range(32))
    with pytest.raises(ValueError, match="32 random bytes"):
        new_secret(b"short")


def test_hex_hmac_is_the_plain_one() -> None:
    """Finicity's signature is the lower-case hex HMAC-SHA256 of the body with the partner secret."""
    expected = hmac.new(b"partner secret", BODY, hashlib.sha256).hexdigest()
    assert sign_hex_hmac("partner secret", BODY) == expected


@pytest.mark.parametrize("written", [str.lower, str.upper, "  {} ".format])
def test_hex_hmac_is_accepted(written: object) -> None:
    """A right value is accepted with either key, in either case, with blanks around it."""
    assert callable(written)
    verify_hex_hmac(["new", "old"], BODY, header_value=written(sign_hex_hmac("old", BODY)))


@pytest.mark.parametrize("value", [None, "", "é", "\udcff", "00", sign_hex_hmac("key", b"other")])
def test_a_wrong_hex_hmac_is_refused(value: str | None) -> None:
    """A missing, malformed or foreign value is a bad signature."""
    with pytest.raises(BadSignature):
        verify_hex_hmac(["key"], BODY, header_value=value)
    with pytest.raises(BadSignature):
        verify_hex_hmac([], BODY, header_value=sign_hex_hmac("key", BODY))


# Headers come through surrogateescape, so lone surrogates are part of the alphabet.
HEADER = st.text(st.characters(), max_size=40) | st.from_regex(r"v1,[A-Za-z0-9+/=]{0,50}( v1,[A-Za-z0-9+/=]{0,50})?")


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-timestamp", "webhook-signature"]), HEADER
    )
)
def test_headers_never_break_the_check(strange: dict[str, str]) -> None:
    """Whatever the headers hold, a forged message is a bad signature, never an error of ours."""
    with pytest.raises(BadSignature):
        check({**headers(NEW), **strange})


@settings(max_examples=200, deadline=None)
@given(HEADER)
def test_a_hex_header_never_breaks_the_check(value: str) -> None:
    """Whatever the header holds, a forged body is a bad signature, never an error of ours."""
    with pytest.raises(BadSignature):
        verify_hex_hmac(["key"], BODY, header_value=value)
