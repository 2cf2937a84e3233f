"""The parsers of bodies and signatures, fed with anything: hypothesis always, atheris where it is installed."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bankfeed.signing import BadSignature, build_headers, read_plaid_kid, verify_plaid, verify_standard
from tests.fuzz.target import NOW, PLAID_KEY, SECRET, try_input
from tests.plaid import make_token

ROOT = Path(__file__).parents[2]
BODY = b'{"webhook_type":"ITEM","webhook_code":"ERROR","item_id":"wz666"}'
TOKEN = make_token(BODY, NOW.timestamp())
HEADERS = build_headers([SECRET], message_id="msg_1", at=NOW, body=BODY)
WIRE = b"\t".join(value.encode() for value in HEADERS.values())
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_bytes_break_no_parser(text: bytes) -> None:
    """Arbitrary bytes as header and body end in a refusal that the parsers' law names."""
    try_input(text)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([TOKEN.encode(), WIRE]), st.integers(0, 400), st.binary(min_size=1, max_size=6))
def test_damage_breaks_no_parser(line: bytes, at: int, piece: bytes) -> None:
    """What was a right header and was damaged anywhere ends in a refusal that the law names, or is right still."""
    try_input(line[:at] + piece + line[at + len(piece) :] + b"\n" + BODY)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["alg", "kid", "typ", "iat", "request_body_sha256"]), JSON)
def test_any_claim_breaks_no_token(name: str, value: object) -> None:
    """A token that Plaid's key has signed may hold anything in any place: it is accepted or a bad signature."""
    token = make_token(BODY, NOW.timestamp(), **{name: value})
    try_input(token.encode("utf-8", "surrogatepass") + b"\n" + BODY)


def test_what_is_damaged_here_was_right() -> None:
    """Undamaged, both headers are accepted, so the tests above reach behind the first check."""
    read_plaid_kid(TOKEN)
    verify_plaid(TOKEN, PLAID_KEY, body=BODY, now=NOW)
    assert verify_standard([SECRET], HEADERS, body=BODY, now=NOW) == "msg_1"
    with pytest.raises(BadSignature):
        verify_plaid(TOKEN, PLAID_KEY, body=BODY, now=NOW + timedelta(seconds=301))


def test_atheris_finds_nothing(tmp_path: Path) -> None:
    """Inputs grown along the code's own branches end no better."""
    pytest.importorskip("atheris")
    words = ["-runs=50000", "-max_total_time=30", f"-artifact_prefix={tmp_path}/"]
    command = [sys.executable, "-m", "tests.fuzz.target", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
