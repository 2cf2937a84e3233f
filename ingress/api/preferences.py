"""What a customer keeps with a client: a small flat JSON object, bounded so that it stays small."""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec

from bankfeed.errors import BadRequest

MAX_BYTES: Final = 4_096
NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f]*$"

Preferences = Annotated[
    dict[
        Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=NO_CONTROLS)],
        Annotated[str, msgspec.Meta(max_length=1_000, pattern=r"^[^\x00]*$")]
        | Annotated[int, msgspec.Meta(ge=-(10**15), le=10**15)]
        | Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
        | bool
        | None,
    ],
    msgspec.Meta(
        max_length=50,
        description="Whatever you want to keep with the client: names with texts, numbers, truths or null, 4,096 bytes in all.",
    ),
]


def write_preferences(preferences: Mapping[str, object]) -> bytes:
    """Return preferences as the row keeps them. Raises BadRequest where they are too long in all."""
    wire = msgspec.json.encode(preferences)
    if len(wire) > MAX_BYTES:
        raise BadRequest(f"expected preferences of at most {MAX_BYTES} bytes, got {len(wire)}", field="preferences")
    return wire
