"""Secrets at rest: what was sealed opens for whom it was sealed, and nothing else does."""

import copy
import os
import pickle
import traceback
from base64 import b64decode, b64encode
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from bankfeed.sealing import KEY_BYTES, NONCE_BYTES, PREFIX, CannotOpen, Sealer, read_keys, write_key

OLD, NEW, OTHER = (bytes([n]) * KEY_BYTES for n in (1, 2, 3))
OF = "endpoint of customer 7"
SECRET = "whsec_tell-nobody-of-this"


def make_sealer(random_bytes: Callable[[int], bytes] = os.urandom, **keys: bytes) -> Sealer:
    return Sealer(keys or {"old": OLD}, random_bytes=random_bytes)


def refusal(sealer: Sealer, sealed: str, *, of: str = OF) -> CannotOpen:
    with pytest.raises(CannotOpen) as raised:
        sealer.open(sealed, of=of)
    return raised.value


SEALED = make_sealer().seal(SECRET, of=OF)


@given(text=st.text(st.characters(exclude_categories=())), of=st.text())
def test_what_was_sealed_opens(text: str, of: str) -> None:
    """Any text comes back exactly, empty ones and lone surrogates too: no encoding error ever shows a text."""
    sealer = make_sealer()
    assert text == sealer.open(sealer.seal(text, of=of), of=of)


def test_a_sealed_text_is_aes_gcm_as_documented() -> None:
    """Opened with the primitive itself: the key by its name, 12 bytes of nonce, and what it belongs to as associated data."""
    sealed = make_sealer(lambda size: bytes(range(size))).seal(SECRET, of=OF)
    raw = b64decode(sealed.removeprefix("sealed:old:"))
    assert bytes(range(12)) == raw[:12]
    assert SECRET.encode() == AESGCM(OLD).decrypt(raw[:12], raw[12:], OF.encode())


def test_the_text_is_not_in_it() -> None:
    """A copy of the database shows the name of the key, and the length of the text."""
    raw = b64decode(SEALED.removeprefix("sealed:old:"))
    assert SECRET.encode() not in raw
    assert NONCE_BYTES + len(SECRET) + 16 == len(raw)


def test_no_nonce_comes_twice() -> None:
    """Sealing the same text again makes another text with another nonce: a second use would give the key's stream away."""
    sealer = make_sealer()
    nonces = {b64decode(sealer.seal(SECRET, of=OF).removeprefix("sealed:old:"))[:NONCE_BYTES] for _ in range(10_000)}
    assert 10_000 == len(nonces)


def test_every_flipped_bit_is_seen() -> None:
    """Whichever bit of nonce, ciphertext or tag is another one, it does not open."""
    sealer, raw = make_sealer(), b64decode(SEALED.removeprefix("sealed:old:"))
    for n in range(8 * len(raw)):
        flipped = bytearray(raw)
        flipped[n // 8] ^= 1 << n % 8
        refusal(sealer, f"sealed:old:{b64encode(flipped).decode()}")


def test_every_changed_character_is_seen() -> None:
    """Whichever character is another one, or missing, it does not open: there is one way to write a sealed text."""
    sealer = make_sealer()
    for n, character in enumerate(SEALED):
        for other in ("A", "B", "=", "\n", "é", ""):
            if other != character:
                refusal(sealer, SEALED[:n] + other + SEALED[n + 1 :])


@given(st.text())
def test_what_was_never_sealed_does_not_open(text: str) -> None:
    """Any other text is refused as what it is, with the prefix too, and raises nothing else."""
    for sealed in (text, PREFIX + text, f"{PREFIX}old:{text}", SEALED + text[:1] if text else ""):
        refusal(make_sealer(), sealed)


@pytest.mark.parametrize("length", range(0, len(SEALED), 7))
def test_a_truncated_text_does_not_open(length: int) -> None:
    """However much of it is there."""
    refusal(make_sealer(), SEALED[:length])


@pytest.mark.parametrize("of", ["endpoint of customer 8", "", OF + " ", "endpoint of customer 77"])
def test_another_owners_text_does_not_open(of: str) -> None:
    """A text that was put into another customer's row is refused, though its key is here."""
    assert "for what it is read for" in str(refusal(make_sealer(), SEALED, of=of))


@pytest.mark.parametrize(
    ("sealer", "sealed"),
    [
        (make_sealer(new=NEW), SEALED),
        (make_sealer(old=OTHER), SEALED),
        (make_sealer(), SEALED.replace("old", "tell-nobody")),
        (make_sealer(new=NEW, old=OLD), SEALED.replace(":old:", ":new:")),
        (make_sealer(), SEALED[:-8]),
        (make_sealer(), SECRET),
    ],
    ids=["no key", "another key", "a key unheard of", "a new key", "cut", "never sealed"],
)
def test_a_refusal_gives_nothing_away(sealer: Sealer, sealed: str) -> None:
    """Neither the error, nor what it came from, nor its traceback's text holds anything of what was read."""
    error = refusal(sealer, sealed)
    assert (None, None) == (error.__cause__, error.__context__)
    shown = repr(error) + "".join(traceback.format_exception(error))
    assert not [part for part in (SECRET, "tell-nobody", sealed[20:40]) if part in shown]


def test_keys_rotate() -> None:
    """The first key seals, all of them open; a text tells whether it is of the first."""
    rotated = make_sealer(new=NEW, old=OLD)
    assert SECRET == rotated.open(SEALED, of=OF)
    assert not rotated.is_current(SEALED)
    anew = rotated.seal(SECRET, of=OF)
    assert rotated.is_current(anew)
    assert SECRET == make_sealer(new=NEW).open(anew, of=OF)
    refusal(make_sealer(), anew)


def test_a_key_whose_name_begins_like_another_is_not_it() -> None:
    """k1 and k10 are two keys."""
    assert not make_sealer(ol=NEW, old=OLD).is_current(SEALED)


def test_a_sealer_prints_no_key() -> None:
    """Neither as text, nor in a copy of its fields, nor by writing it down."""
    sealer = make_sealer()
    assert not [text for text in (repr(sealer), str(sealer), str(vars(sealer))) if repr(OLD)[2:-1] in text]
    for write in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            write(sealer)


@pytest.mark.parametrize("keys", [{}, {"old": b""}, {"old": OLD[:-1]}, {"old": OLD, "new": NEW + b"x"}])
def test_a_sealer_needs_whole_keys(keys: dict[str, bytes]) -> None:
    """No key, and one of another length, are refused at once."""
    with pytest.raises(ValueError, match="expected at least one key, each of 32 bytes"):
        Sealer(keys, random_bytes=os.urandom)


@given(st.dictionaries(st.from_regex(r"[a-z0-9-]{1,32}", fullmatch=True), st.binary(min_size=32, max_size=32)))
def test_keys_are_read_as_they_are_written(keys: dict[str, bytes]) -> None:
    """Any number of keys, in their order; blanks and line ends around them do not count."""
    unique = dict({key: key_id for key_id, key in keys.items()}.items())
    written = {key_id: key for key, key_id in unique.items()}
    text = " ,\n".join(write_key(key_id, key) for key_id, key in written.items())
    assert list(written.items()) == list(read_keys(f" {text}\n").items())


@pytest.mark.parametrize(
    "text",
    [
        "tell-nobody",
        "k1:",
        f"k1:{b64encode(OLD[:-1]).decode()}",
        f"k1:{b64encode(OLD).decode()[:-1]}",
        f"k1:{b64encode(OLD).decode()}é",
        b64encode(OLD).decode(),
        f":{b64encode(OLD).decode()}",
        f"K1:{b64encode(OLD).decode()}",
        f"{'k' * 33}:{b64encode(OLD).decode()}",
        f"{write_key('k1', OLD)},{write_key('k1', NEW)}",
        f"{write_key('k1', OLD)},{write_key('k2', OLD)}",
        f"{write_key('k1', OLD)};{write_key('k2', NEW)}",
    ],
)
def test_keys_that_cannot_be_used_are_refused(text: str) -> None:
    """A name or a key that is none, or comes twice, is refused in a sentence that repeats nothing of it."""
    with pytest.raises(ValueError, match="keys like name:base64 of 32 bytes") as raised:
        read_keys(text)
    assert (None, None) == (raised.value.__cause__, raised.value.__context__)
    assert "keys like name:base64 of 32 bytes, comma-separated, each name and each key once" == str(raised.value)


def test_what_cannot_be_read_is_not_written() -> None:
    """A name with a colon, a blank or capitals would be read as something else."""
    for name in ("", "a:b", "a b", "K1", "k" * 33, "é"):
        with pytest.raises(ValueError, match="expected a name of 1 to 32"):
            write_key(name, OLD)
    with pytest.raises(ValueError, match="expected a key of 32 bytes, got 31"):
        write_key("k1", OLD[:-1])
