"""The form in which a person enters credentials, and how it is read. Pure.

Ids are the institution's with three digits behind, as the aggregator numbers them: 101732001 is FinBank's username.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bankfeed.sandbox.institutions import Institution
from bankfeed.sandbox.refusals import invalid_parameter, missing_parameter

LONGEST_VALUE_CHARS = 256
USERNAME, PASSWORD, HOLDER, ADDRESS = 1, 2, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One thing to enter; `is_masked` is not to be seen while it is typed. `number` ends its id."""

    number: int
    name: str
    instructions: str
    is_masked: bool = False

    def id_at(self, institution_id: int) -> str:
        """Return the field's id."""
        return f"{institution_id}{self.number:03d}"


SIGN_IN = (
    FormField(number=USERNAME, name="Banking Userid", instructions="The username of your online banking."),
    FormField(
        number=PASSWORD, name="Banking Password", instructions="The password of your online banking.", is_masked=True
    ),
)
EVERYTHING = (
    FormField(number=HOLDER, name="Name on the account", instructions="As it stands on a statement."),
    FormField(number=ADDRESS, name="Bank or credit card URL", instructions="Where you sign in to your bank."),
    *SIGN_IN,
)


def fields_of(institution: Institution) -> tuple[FormField, ...]:
    """List what an institution asks for, in its order."""
    return EVERYTHING if institution.asks_everything else SIGN_IN


def read_form(institution: Institution, values: Mapping[str, str]) -> tuple[str, str]:
    """Return username and password of a form's values by id.

    Refuses an id that the form does not have and a value that is too long (10100), and an empty field (10005).
    """
    fields = {field.id_at(institution.id): field for field in fields_of(institution)}
    if values.keys() - fields.keys() or any(len(value) > LONGEST_VALUE_CHARS for value in values.values()):
        raise invalid_parameter("credentials")
    for field_id, field in fields.items():
        if not values.get(field_id, "").strip():
            raise missing_parameter(field.name)
    by_number = {field.number: values[field_id] for field_id, field in fields.items()}
    return by_number[USERNAME].strip(), by_number[PASSWORD]
