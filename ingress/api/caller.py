"""Who calls: a person with a role or a machine's key with scopes, and what each may do. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bankfeed.model import CustomerId
from ingress.api.route import Scope


class Role(StrEnum):
    """What a person of a customer may do."""

    OWNER = "owner"
    EMPLOYEE = "employee"
    READER = "reader"


_OWNERS_ALONE: Final = frozenset({Scope.PEOPLE_READ, Scope.PEOPLE_WRITE, Scope.AUDIT_READ})
_LOOKING: Final = frozenset({scope for scope in Scope if scope.endswith(":read")} - _OWNERS_ALONE)

SCOPES_OF: Final[Mapping[Role, frozenset[Scope]]] = {
    Role.OWNER: frozenset(Scope),
    Role.EMPLOYEE: frozenset(Scope) - _OWNERS_ALONE,
    Role.READER: _LOOKING | {Scope.SELF},
}
GRANTABLE: Final = frozenset(Scope) - _OWNERS_ALONE - {Scope.SELF}
"""What a key may be made with: a key governs neither people nor keys, and has no session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A signed-in person (`user_id`, `role`) or a key (`key_id`); `token_sha256` is what it came with."""

    customer_id: CustomerId
    user_id: int | None
    key_id: int | None
    role: Role | None
    scopes: frozenset[Scope]
    token_sha256: bytes

    @property
    def actor(self) -> str:
        """Name the caller as acts and the audit log do."""
        return f"user:{self.user_id}" if self.user_id is not None else f"key:{self.key_id}"

    def may(self, scope: Scope) -> bool:
        """Tell whether the caller may do what needs a scope."""
        return scope in self.scopes


NOBODY: Final = Caller(
    customer_id=CustomerId(0), user_id=None, key_id=None, role=None, scopes=frozenset(), token_sha256=b""
)
"""The caller of a public route, in a transaction of customer 0, which nobody is."""
