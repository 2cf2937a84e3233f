"""Signatures of webhooks, made and checked over the raw bytes. Pure: the clock and the randomness are arguments.

One file for each family: `standard` (Standard Webhooks v1 and v1a, https://www.standardwebhooks.com, which is also what
Bankfeed sends), `finicity` (its hex HMAC, and TxPUSH's) and `plaid` (a JWT). Which one a sender uses is configuration,
never read from its message. Nothing here parses a body, and whatever a header holds, the only exception is BadSignature;
ValueError is for a key of ours that cannot be used.
"""

from bankfeed.signing.finicity import (
    TXPUSH_PARTS,
    sign_hex_hmac,
    sign_txpush,
    txpush_text,
    verify_hex_hmac,
    verify_txpush,
)
from bankfeed.signing.headers import TOLERANCE_S, BadSignature
from bankfeed.signing.plaid import PlaidKey, read_plaid_key, read_plaid_kid, verify_plaid
from bankfeed.signing.standard import (
    PUBLIC_PREFIX,
    SECRET_BYTES,
    SigningKey,
    build_headers,
    new_secret,
    new_signing_key,
    sign_v1,
    sign_v1a,
    verify_standard,
)

__all__ = [
    "PUBLIC_PREFIX",
    "SECRET_BYTES",
    "TOLERANCE_S",
    "TXPUSH_PARTS",
    "BadSignature",
    "PlaidKey",
    "SigningKey",
    "build_headers",
    "new_secret",
    "new_signing_key",
    "read_plaid_key",
    "read_plaid_kid",
    "sign_hex_hmac",
    "sign_txpush",
    "sign_v1",
    "sign_v1a",
    "txpush_text",
    "verify_hex_hmac",
    "verify_plaid",
    "verify_standard",
    "verify_txpush",
]
