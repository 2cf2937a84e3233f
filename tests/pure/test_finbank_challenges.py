"""FinBank's published table as rules: who gets in, who is asked what, and what becomes of the answers."""

import struct
import zlib

import pytest

from bankfeed.sandbox.challenges import CHOICES, CODE_LIFE_S, Challenge, ChallengeKind, first_challenge, next_challenge
from bankfeed.sandbox.credentials import Manner, code_of, kept_name, manner_of
from bankfeed.sandbox.pictures import GLYPHS, SHAPES, SIGNATURE, WORDS, shape_picture, word_picture
from bankfeed.sandbox.refusals import Refusal

NOW_S = 1_700_000_000


def begin(manner: Manner) -> Challenge:
    return first_challenge(manner, turn=0, now_s=NOW_S)


def follow(
    manner: Manner, challenge: Challenge, *, now_s: int = NOW_S, answer: str = "anything at all"
) -> Challenge | None:
    answers = {question.text: answer for question in challenge.questions}
    return next_challenge(manner, challenge, answers, now_s=now_s)


@pytest.mark.parametrize(
    ("username", "password", "manner"),
    [
        ("demo", "go", Manner.PLAIN),
        ("anybody", "go", Manner.PLAIN),
        ("tfa_text", "go", Manner.TEXT),
        ("tfa_image", "go", Manner.IMAGE),
        ("tfa_choice", "go", Manner.CHOICE),
        ("tfa_multi", "go", Manner.MULTI),
        ("demo", "imagechoice", Manner.IMAGE_CHOICE),
        ("demo", "imagechoice2", Manner.IMAGE_CHOICE_2),
        ("discovertimeout", "go", Manner.SLOW),
    ],
)
def test_finbank_lets_each_user_in_its_own_way(username: str, password: str, manner: Manner) -> None:
    """Right credentials have the manner of their row."""
    assert manner == manner_of(username, password)


@pytest.mark.parametrize("code", [123, 125, 127, 128, 130])
def test_finbank_fails_with_the_code_that_is_the_password(code: int) -> None:
    """Five passwords are their own aggregation code."""
    with pytest.raises(Refusal) as caught:
        manner_of("demo", str(code))
    assert (500, code) == (caught.value.status, caught.value.code)


@pytest.mark.parametrize(("username", "password"), [("invalid_user", "go"), ("invalid_user", "125"), ("demo", "Go")])
def test_finbank_calls_other_credentials_invalid(username: str, password: str) -> None:
    """All else is 103, and invalid_user whatever the password."""
    assert 103 == code_of(username, password)


def test_finbank_wants_a_username() -> None:
    """Without a username nothing can be judged."""
    with pytest.raises(Refusal, match="expected a username"):
        manner_of("", "go")


def test_finbank_keeps_a_hash_of_private_usernames() -> None:
    """A published username is kept; any other only as what its key makes of it."""
    assert "tfa_text" == kept_name("tfa_text", b"key")
    kept = kept_name("ann@example.com", b"key")
    assert "ann" not in kept
    assert kept == kept_name("ann@example.com", b"key")
    assert kept != kept_name("ann@example.com", b"another key")


@pytest.mark.parametrize(
    ("manner", "kind"),
    [
        (Manner.TEXT, ChallengeKind.TEXT),
        (Manner.IMAGE, ChallengeKind.IMAGE),
        (Manner.CHOICE, ChallengeKind.CHOICE),
        (Manner.MULTI, ChallengeKind.MULTI),
        (Manner.IMAGE_CHOICE, ChallengeKind.MULTI),
        (Manner.IMAGE_CHOICE_2, ChallengeKind.MULTI),
    ],
)
def test_finbank_takes_any_answer(manner: Manner, kind: ChallengeKind) -> None:
    """Each challenge has its kind, and one answer lets in."""
    challenge = begin(manner)
    assert kind == challenge.kind
    assert follow(manner, challenge) is None


def test_finbank_asks_again_after_mfa() -> None:
    """The answer mfa brings another question, as often as it is given."""
    first = begin(Manner.TEXT)
    second = follow(Manner.TEXT, first, answer="mfa")
    assert second is not None
    third = follow(Manner.TEXT, second, answer="mfa")
    assert third is not None
    assert 3 == len({each.questions[0].text for each in (first, second, third)})
    assert follow(Manner.TEXT, third, answer="Rex") is None


@pytest.mark.parametrize("manner", [Manner.CHOICE, Manner.TOKEN])
def test_finbank_fails_the_answer_fail(manner: Manner) -> None:
    """The answer fail is wrong; it is one of the options where there are options."""
    with pytest.raises(Refusal) as caught:
        follow(manner, begin(manner), answer="fail")
    assert (500, 187) == (caught.value.status, caught.value.code)
    assert "fail" in CHOICES


@pytest.mark.parametrize("manner", [each for each in Manner if each.asks])
def test_finbank_wants_every_answer(manner: Manner) -> None:
    """A blank answer, and one to another question, is none."""
    challenge = begin(manner)
    for answers in ({challenge.questions[0].text: "  "}, {"Another question?": "yes"}, {}):
        with pytest.raises(Refusal) as caught:
            next_challenge(manner, challenge, answers, now_s=NOW_S)
        assert 185 == caught.value.code


def test_finbank_takes_a_token_in_time_only() -> None:
    """A token's code lives three minutes; after it come two security questions, which take their time."""
    token = begin(Manner.TOKEN)
    assert NOW_S + CODE_LIFE_S == token.expires_at_s
    asked = follow(Manner.TOKEN, token, now_s=NOW_S + CODE_LIFE_S - 1)
    assert asked is not None
    assert (2, None) == (len(asked.questions), asked.expires_at_s)
    assert follow(Manner.TOKEN, asked, now_s=NOW_S + 10_000) is None
    with pytest.raises(Refusal) as caught:
        follow(Manner.TOKEN, token, now_s=NOW_S + CODE_LIFE_S)
    assert 185 == caught.value.code


def test_finbank_image_choices_have_two_styles() -> None:
    """Style 1 names its three pictures; style 2 numbers six, so that only looking helps."""
    first, second = (begin(each).questions[0].image_choices for each in (Manner.IMAGE_CHOICE, Manner.IMAGE_CHOICE_2))
    assert ["circle", "square", "triangle"] == [each.value for each in first]
    assert ["1", "2", "3", "4", "5", "6"] == [each.value for each in second]
    assert 6 == len({each.image for each in second})


def pixels(picture: bytes) -> list[str]:
    """Read a picture of ours back: a line of # (black) and . for each row; every checksum is checked."""
    assert picture.startswith(SIGNATURE)
    chunks, at = {}, len(SIGNATURE)
    while at < len(picture):
        (length,) = struct.unpack(">I", picture[at : at + 4])
        name, body = picture[at + 4 : at + 8], picture[at + 8 : at + 8 + length]
        assert struct.pack(">I", zlib.crc32(name + body)) == picture[at + 8 + length : at + 12 + length]
        chunks[name], at = body, at + 12 + length
    assert [b"IHDR", b"IDAT", b"IEND"] == list(chunks)
    width, height, depth, grey = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (1, 0) == (depth, grey)
    raw, stride = zlib.decompress(chunks[b"IDAT"]), 1 + (width + 7) // 8
    assert height * stride == len(raw)
    rows = [raw[row * stride + 1 : (row + 1) * stride] for row in range(height)]
    bits = ["".join(f"{byte:08b}" for byte in row)[:width] for row in rows]
    return [row.replace("1", ".").replace("0", "#") for row in bits]


@pytest.mark.parametrize("word", WORDS)
def test_finbank_pictures_hold_the_word(word: str) -> None:
    """A word's picture is a PNG in which every letter stands, dot by dot."""
    dots = [row[::6] for row in pixels(word_picture(word))[::6]][2:9]
    for number, letter in enumerate(word):
        left = 2 + 6 * number
        shown = [row[left + 1 : left + 6].replace("#", "1").replace(".", "0") for row in dots]
        assert tuple(int(row, 2) for row in shown) == GLYPHS[letter]


def test_finbank_shapes_differ() -> None:
    """Each shape is drawn, in the middle of a square, and no two are alike."""
    drawn = {name: pixels(shape_picture(name)) for name in SHAPES}
    assert 6 == len({"".join(rows) for rows in drawn.values()})
    assert all({72} == {len(row) for row in rows} and 72 == len(rows) for rows in drawn.values())
    assert all("#" in "".join(rows) and set("".join(rows[0])) == {"."} for rows in drawn.values())
