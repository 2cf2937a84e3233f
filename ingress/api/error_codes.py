"""The aggregation status codes in words, for everybody: what each means, who acts, and whether trying again or a repair helps."""

from typing import Annotated, Final

from msgspec import Meta

from bankfeed.health import Actor, Catalogue, ConnectionState, Meaning, Step, list_meanings
from ingress.api.call import Call
from ingress.api.route import Body, Route, Wire

TAG: Final = "Bank accounts"


class ErrorCodeParams(Body):
    """Whose codes."""

    catalogue: Annotated[
        Catalogue, Meta(description="Whose codes: finicity's are what bank accounts have here; yodlee's, CustomBooks'.")
    ] = Catalogue.FINICITY


class ErrorCodeRow(Wire):
    """One status code. 0 is that all is well."""

    code: int
    state: Annotated[ConnectionState, Meta(description="How a bank account stands that has it.")]
    description: Annotated[str, Meta(description="What it is, in a few words.")]
    message: Annotated[str, Meta(description="What it means, for people.")]
    next_step: Annotated[str, Meta(description="What a person can do.")]
    who_acts: Annotated[Actor, Meta(description="Who can change it; person_... is the account holder, and where.")]
    step: Annotated[Step, Meta(description="Which step of a repair fits; none where none does.")]
    is_retryable: Annotated[bool, Meta(description="Whether the next update may succeed without anybody.")]
    is_fixable: Annotated[bool, Meta(description="Whether the repair widget is the way.")]


class ErrorCodesAnswer(Wire):
    """Every code of a catalogue that is documented; one that is not listed is waited out."""

    catalogue: Catalogue
    error_codes: list[ErrorCodeRow]


async def list_error_codes(_: Call, params: ErrorCodeParams) -> ErrorCodesAnswer:
    """List the status codes in order."""
    rows = [_show(code, meaning) for code, meaning in list_meanings(params.catalogue)]
    return ErrorCodesAnswer(catalogue=params.catalogue, error_codes=rows)


def _show(code: int, meaning: Meaning) -> ErrorCodeRow:
    return ErrorCodeRow(
        code=code,
        state=meaning.state,
        description=meaning.title,
        message=meaning.words,
        next_step=meaning.todo,
        who_acts=meaning.actor,
        step=meaning.step,
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
        params=ErrorCodeParams,
        answer=ErrorCodesAnswer,
        text="The same, as a page for people, is at `/error-codes`; `/error-codes#code-103` is one code there.",
    ),
)
