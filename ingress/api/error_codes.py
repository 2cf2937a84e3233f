"""The aggregation status codes in words, for everybody: what each means, who acts, and whether trying again or a repair helps."""

from typing import Annotated, Final

from msgspec import Meta

from bankfeed.health import MEANINGS, Actor, ConnectionState, describe
from ingress.api.call import Call
from ingress.api.route import NoParams, Route, Wire

TAG: Final = "Bank accounts"


class ErrorCodeRow(Wire):
    """One status code. 0 is that all is well."""

    code: int
    state: Annotated[ConnectionState, Meta(description="How a bank account stands that has it.")]
    message: Annotated[str, Meta(description="What it means, for people.")]
    next_step: Annotated[str, Meta(description="What a person can do.")]
    who_acts: Annotated[Actor, Meta(description="Who can change it.")]
    is_retryable: Annotated[bool, Meta(description="Whether the next update may succeed without anybody.")]
    is_fixable: Annotated[bool, Meta(description="Whether the repair widget is the way.")]


class ErrorCodesAnswer(Wire):
    """Every code that is documented; one that is not listed is waited out."""

    error_codes: list[ErrorCodeRow]


async def list_error_codes(_: Call, __: NoParams) -> ErrorCodesAnswer:
    """List the status codes in order."""
    return ErrorCodesAnswer(error_codes=[_show(code) for code in sorted(MEANINGS)])


def _show(code: int) -> ErrorCodeRow:
    meaning = describe(MEANINGS[code].state, code, is_received=True) if not code else MEANINGS[code]
    return ErrorCodeRow(
        code=code,
        state=meaning.state,
        message=meaning.words,
        next_step=meaning.todo,
        who_acts=meaning.actor,
        is_retryable=meaning.is_retryable,
        is_fixable=meaning.is_fixable,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/error-codes",
        handle=list_error_codes,
        summary="List the status codes in words",
        tag=TAG,
        scope=None,
        answer=ErrorCodesAnswer,
    ),
)
