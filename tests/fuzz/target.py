"""One input for the parsers of bodies and signatures: `python -m tests.fuzz.target` feeds it by atheris, where that is installed.

The first line of an input is the header that is looked at, the rest the body. What the parsers may raise is in the law of
each; anything else ends the run with a traceback, and with a file that holds the input.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import Final

from bankfeed.aggregators.dialects import DIALECTS
from bankfeed.errors import BadRequest
from bankfeed.signing import (
    BadSignature,
    read_plaid_key,
    read_plaid_kid,
    txpush_text,
    verify_hex_hmac,
    verify_plaid,
    verify_standard,
    verify_txpush,
)
from tests.plaid import make_jwk

NOW: Final = datetime(2026, 3, 2, 6, 0, 0, tzinfo=UTC)
STAMP: Final = str(int(NOW.timestamp()))
SECRET: Final = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLIC: Final = "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="  # of the private key 0, 1, 2 ... 31
PLAID_KEY: Final = read_plaid_key(make_jwk())


def try_input(text: bytes) -> None:
    """Give one input to every parser; raise what none of them may raise."""
    line, _, body = text.partition(b"\n")
    header = line.decode("utf-8", "surrogateescape")  # as the server decodes it
    for verify in _VERIFIERS:
        _expect(BadSignature, lambda verify=verify: verify(header, body))  # type: ignore[misc]
    for read in DIALECTS.values():
        _expect(BadRequest, lambda read=read: read(body, {}))  # type: ignore[misc]


def _expect(error: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return


def _verify_standard_parts(header: str, body: bytes) -> None:
    parts = dict(zip(("webhook-id", "webhook-timestamp", "webhook-signature"), header.split("\t"), strict=False))
    verify_standard([SECRET, PUBLIC], parts, body=body, now=NOW)


def _verify_standard_signature(header: str, body: bytes) -> None:
    sent = {"webhook-id": "msg_1", "webhook-timestamp": STAMP, "webhook-signature": header}
    verify_standard([SECRET, PUBLIC], sent, body=body, now=NOW)


def _verify_finicity(header: str, body: bytes) -> None:
    verify_hex_hmac(["key"], body, header_value=header)


def _verify_txpush(header: str, body: bytes) -> None:
    text = txpush_text("{content_type}{host}{body}", content_type=header, host=header, body=body)
    verify_txpush(["key"], text, header_value=header)


def _read_plaid(header: str, body: bytes) -> None:
    read_plaid_kid(header)


def _verify_plaid(header: str, body: bytes) -> None:
    verify_plaid(header, PLAID_KEY, body=body, now=NOW)


_VERIFIERS: Final[tuple[Callable[[str, bytes], None], ...]] = (
    _verify_standard_parts,
    _verify_standard_signature,
    _verify_finicity,
    _verify_txpush,
    _read_plaid,
    _verify_plaid,
)


def main() -> None:
    """Feed inputs until one fails, or as libFuzzer's arguments say."""
    atheris = import_module("atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, try_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
