"""The API's description, for programs (openapi.json) and for people (a page made from it). Public, and the same for all."""

from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bankfeed import __version__
from ingress.api.openapi import SCHEMAS, make_openapi
from ingress.api.route import Route

FOLDER: Final = Path(__file__).parent
MAX_DEPTH: Final = 6
PAGE_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Docs:
    """The description, made when it is first asked for."""

    def __init__(self, routes: tuple[Route, ...], *, prefix: str) -> None:
        self._routes = routes
        self._prefix = prefix

    @cached_property
    def described(self) -> dict[str, Any]:
        """The whole description, as JSON values."""
        return make_openapi(self._routes, version=__version__, prefix=self._prefix)

    @cached_property
    def json(self) -> bytes:
        """The description for programs."""
        return orjson.dumps(self.described, option=orjson.OPT_INDENT_2)

    @cached_property
    def page(self) -> bytes:
        """The description for people."""
        return render(self.described).encode()

    @cached_property
    def style(self) -> bytes:
        """How the page looks."""
        return (FOLDER / "docs.css").read_bytes()

    def add_routes(self, app: web.Application) -> None:
        """Serve the three files."""
        app.router.add_get(f"{self._prefix}/openapi.json", self._answer(lambda: self.json, "application/json"))
        app.router.add_get(f"{self._prefix}/docs", self._answer(lambda: self.page, "text/html"))
        app.router.add_get(f"{self._prefix}/docs.css", self._answer(lambda: self.style, "text/css"))

    def _answer(self, find: Any, content_type: str) -> Any:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=find(), content_type=content_type, charset="utf-8", headers=PAGE_HEADERS)

        return answer


def render(described: dict[str, Any]) -> str:
    """Make the page: each operation with its parameters, what it takes and what it gives."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    schemas = described["components"]["schemas"]
    environment.filters["shape"] = lambda schema: write_shape(schema, schemas)
    environment.filters["json"] = lambda value: orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    groups = {tag["name"]: [each for each in operations if tag["name"] in each["tags"]] for tag in described["tags"]}
    paragraphs = described["info"]["description"].split("\n\n")
    return environment.get_template("docs.html").render(
        info=described["info"], base=described["servers"][0]["url"], groups=groups, paragraphs=paragraphs
    )


def write_shape(schema: Any, schemas: dict[str, Any], depth: int = 0) -> str:  # noqa: PLR0911 - a table
    r"""Write a schema as people write JSON: names, and types instead of values.

    >>> write_shape({"type": "object", "properties": {"id": {"type": "integer"}}}, {})
    '{\n  "id": integer\n}'
    """
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMAS)
        return name if depth > MAX_DEPTH else write_shape(schemas[name], schemas, depth)
    if "allOf" in schema:
        return write_shape(_merge([_resolve(part, schemas) for part in schema["allOf"]]), schemas, depth)
    if "anyOf" in schema:
        return " | ".join(write_shape(part, schemas, depth) for part in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f'"{word}"' if isinstance(word, str) else str(word) for word in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    if schema.get("properties"):
        return _write_object(schema, schemas, depth)
    if schema.get("type") == "array":
        return f"[{write_shape(schema.get('items', {}), schemas, depth)}]"
    return str(schema.get("format") or schema.get("type") or "any")


def _write_object(schema: Any, schemas: dict[str, Any], depth: int) -> str:
    space = "  " * (depth + 1)
    lines = [
        f'{space}"{name}": {write_shape(field, schemas, depth + 1)}' for name, field in schema["properties"].items()
    ]
    return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"


def _resolve(schema: Any, schemas: dict[str, Any]) -> Any:
    return schemas[schema["$ref"].removeprefix(SCHEMAS)] if "$ref" in schema else schema


def _merge(parts: list[Any]) -> dict[str, Any]:
    return {"properties": {name: field for part in parts for name, field in part.get("properties", {}).items()}}
