"""The pictures that the bank shows with its questions: a word to read and shapes to choose from. Pure: PNG bytes.

One bit a pixel, drawn by rule; nothing is read from a file.
"""

import struct
import zlib
from collections.abc import Callable, Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DOT_PX = 6
MARGIN_DOTS = 2
SIDE_PX = 72

# Seven rows of five dots for each letter, the highest bit at the left.
GLYPHS = {
    "A": (14, 17, 17, 31, 17, 17, 17),
    "B": (30, 17, 17, 30, 17, 17, 30),
    "C": (15, 16, 16, 16, 16, 16, 15),
    "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "G": (15, 16, 16, 19, 17, 17, 15),
    "I": (31, 4, 4, 4, 4, 4, 31),
    "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "T": (31, 4, 4, 4, 4, 4, 4),
    "U": (17, 17, 17, 17, 17, 17, 14),
    "V": (17, 17, 17, 17, 17, 10, 4),
}
WORDS = ("RIVER", "MAPLE", "TIGER", "CLOUD", "BREAD", "MOUNTAIN")

# Each shape by the pixels it covers, x and y from -1 to 1 with the middle at 0.
SHAPES: dict[str, Callable[[float, float], bool]] = {
    "circle": lambda x, y: x * x + y * y <= 0.64,
    "square": lambda x, y: max(abs(x), abs(y)) <= 0.7,
    "triangle": lambda x, y: -0.8 <= y <= 0.7 and abs(x) <= (y + 0.8) / 1.9,
    "cross": lambda x, y: min(abs(x), abs(y)) <= 0.22 and max(abs(x), abs(y)) <= 0.8,
    "ring": lambda x, y: 0.25 <= x * x + y * y <= 0.64,
    "diamond": lambda x, y: abs(x) + abs(y) <= 0.85,
}


def word_picture(word: str) -> bytes:
    """Draw a word, black on white, 54 pixels and more high; `GLYPHS` has the letters that it may have."""
    lines = []
    for number in range(7):
        dots = [bool(GLYPHS[letter][number] >> shift & 1) for letter in word for shift in (5, 4, 3, 2, 1, 0)]
        lines.append([*[False] * MARGIN_DOTS, *dots, *[False] * MARGIN_DOTS])
    empty = [[False] * len(lines[0])] * MARGIN_DOTS
    dotted = [*empty, *lines, *empty]
    return png([[dot for dot in line for _ in range(DOT_PX)] for line in dotted for _ in range(DOT_PX)])


def shape_picture(name: str) -> bytes:
    """Draw one of `SHAPES`, black on white, 72 pixels square."""
    covers, half = SHAPES[name], SIDE_PX / 2
    along = [(pixel + 0.5 - half) / half for pixel in range(SIDE_PX)]
    return png([[covers(x, y) for x in along] for y in along])


def png(lines: Sequence[Sequence[bool]]) -> bytes:
    """Write pixels (true is black) as a PNG of one bit of grey; all lines have one length."""
    height_px, width_px = len(lines), len(lines[0])
    header = struct.pack(">IIBBBBB", width_px, height_px, 1, 0, 0, 0, 0)
    raw = b"".join(b"\0" + _packed(line) for line in lines)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b"")


def _packed(line: Sequence[bool]) -> bytes:
    bits = "".join("0" if is_black else "1" for is_black in line)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
