"""The API's description as OpenAPI 3.1, made from the structs that decode its requests and encode its answers. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ingress.api.examples import EXAMPLES
from ingress.api.route import NoParams, Route, Wire

SCHEMAS: Final = "#/components/schemas/"
TITLE: Final = "Bankfeed"
INTRODUCTION: Final = """\
Everything a firm does with its clients' bank feeds: link, refresh, read, book, and be told by webhooks.

**Signing in.** `POST /authenticate` answers a token; send it as `Authorization: Bearer <token>`. Machines use keys (`POST
/keys`), made with the scopes they need. Tokens and keys of a sandbox are refused by a live deployment, and the other way.

**Answers** are `{"status":"OK", ...}` or `{"status":"ERROR","code","message","field","requestId"}`. Amounts are decimal
strings, positive into the account; times are UTC; ids are 64-bit integers. What is not yours is 404.

**Sending again.** Give each POST an `Idempotency-Key` of your own: for 24 hours a repeat is answered as the first was, and
not done again. An answer with a token, key or secret is not kept: there a repeat is 409.

**Changing.** Things have a `version`, which is their ETag too. Give it back as `If-Match` or `version`; if somebody changed it
meanwhile you get 409 and nothing is lost.

**Pages.** Lists take `limit` (at most 1,000) and `cursor`; `links.next` and the header `Link` lead on.

**How often.** `RateLimit-*` headers say what is left; past it comes 429 with `Retry-After`.
"""
PROBLEMS: Final[Mapping[int, str]] = {
    400: "The request cannot be read: bad_request. Where 422 is not an answer, also a value that does not fit: invalid.",
    401: "No token, or one that is unknown, expired or of the other environment: unauthorized, wrong_environment.",
    403: "The caller lacks the scope: forbidden.",
    404: "There is no such thing, or it is another's: not_found.",
    408: "The body took too long: too_slow.",
    409: "Something stands in the way as it is now: conflict, version_conflict, act_refused, idempotency_conflict.",
    413: "The body is too large: too_large.",
    415: "The body is not JSON, or compressed: unsupported_media_type.",
    422: "A value does not fit; field names it: invalid.",
    429: "Too many requests; Retry-After says how long to wait: rate_limited.",
    503: "Not available now; Retry-After says when to try again: unavailable.",
}
_ALWAYS: Final = (400, 413, 429, 503)
_SIGNED_IN: Final = (401, 403)


class ErrorAnswer(Wire):
    """What went wrong. `code` is from a closed list; `field` names what does not fit."""

    status: str
    code: str
    message: str
    request_id: str
    field: str | msgspec.UnsetType = msgspec.UNSET


def make_openapi(routes: Sequence[Route], *, version: str, prefix: str) -> dict[str, Any]:
    """Return the whole description as JSON values."""
    structs = {each for route in routes for each in (route.body, route.answer) if each is not None}
    ordered = sorted(structs | {ErrorAnswer}, key=lambda struct: (struct.__module__, struct.__name__))
    _, components = msgspec.json.schema_components(ordered, ref_template=SCHEMAS + "{name}")
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _describe(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version,
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": prefix}],
        "tags": [{"name": name} for name in dict.fromkeys(route.tag for route in routes)],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {f"Problem{status}": _problem(text) for status, text in PROBLEMS.items()},
        },
    }


def _describe(route: Route) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _list_parameters(route),
        "responses": {str(route.status): _describe_answer(route)} | _list_problems(route),
    }
    if text := "\n\n".join(part for part in (route.text, _say_scope(route)) if part):
        described["description"] = text
    if route.scope is None:
        described["security"] = []
    if route.sunset_on is not None:
        described["deprecated"] = True
    if route.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": SCHEMAS + route.body.__name__}}
        if route.name in EXAMPLES:
            content["example"] = EXAMPLES[route.name]
        described["requestBody"] = {"required": not route.is_body_optional, "content": {"application/json": content}}
    return described


def _say_scope(route: Route) -> str:
    return "" if route.scope is None else f"Needs the scope `{route.scope}`."


def _describe_answer(route: Route) -> dict[str, Any]:
    binary = {"schema": {"type": "string"}}
    if route.streams and route.answer is None:
        return {"description": route.summary, "content": {"application/x-ndjson": binary, "text/csv": binary}}
    envelope = {
        "type": "object",
        "required": ["status"],
        "properties": {
            "status": {"const": "OK"},
            "links": {"type": "object", "properties": {"next": {"type": "string"}}},
        },
    }
    whole = envelope if route.answer is None else {"allOf": [envelope, {"$ref": SCHEMAS + route.answer.__name__}]}
    content = {"application/json": {"schema": whole}} | ({"application/x-ndjson": binary} if route.streams else {})
    return {"description": route.summary, "content": content}


def _list_problems(route: Route) -> dict[str, Any]:
    statuses = {*_ALWAYS, route.invalid_status, *route.errors.values()}
    if route.scope is not None:
        statuses |= {*_SIGNED_IN}
    if route.body is not None:
        statuses |= {415, 408}
    if "{" in route.path or route.params is not NoParams or (route.body is not None and route.scope is not None):
        statuses.add(404)
    if route.method != "GET":
        statuses.add(409)
    return {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)}


def _problem(text: str) -> dict[str, Any]:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": SCHEMAS + "ErrorAnswer"}}}}


def _list_parameters(route: Route) -> list[dict[str, Any]]:
    """Describe path parameters, the query, and the headers that a route takes."""
    _, components = msgspec.json.schema_components([route.params], ref_template=SCHEMAS + "{name}")
    schema = components[route.params.__name__]
    in_path = set(re.findall(r"\{(\w+)\}", route.path))
    required = set(schema.get("required", ()))
    parameters = [
        _describe_parameter(name, _inline(field, components), is_in_path=name in in_path, is_required=name in required)
        for name, field in schema.get("properties", {}).items()
    ]
    if route.method == "POST":
        parameters.append(_header("Idempotency-Key", "A repeat with the same key is answered and not done again."))
    if route.body is not None and "version" in route.body.__struct_encode_fields__:
        parameters.append(_header("If-Match", "The ETag of what is changed; 409 where it was changed since."))
    return parameters


def _inline(field: Any, components: Mapping[str, Any]) -> Any:
    """Put enums where they are used: a parameter's types are its own."""
    if isinstance(field, dict):
        if "$ref" in field:
            return _inline(components[field["$ref"].removeprefix(SCHEMAS)], components)
        return {name: _inline(value, components) for name, value in field.items()}
    return [_inline(value, components) for value in field] if isinstance(field, list) else field


def _describe_parameter(name: str, schema: Any, *, is_in_path: bool, is_required: bool) -> dict[str, Any]:
    kept = {key: value for key, value in schema.items() if key != "description"}
    described = {
        "name": name,
        "in": "path" if is_in_path else "query",
        "required": is_in_path or is_required,
        "schema": kept,
    }
    if kept.get("type") == "array":
        described |= {"style": "form", "explode": False}
    return described | ({"description": schema["description"]} if "description" in schema else {})


def _header(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
