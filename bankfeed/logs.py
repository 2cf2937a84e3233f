"""Structured logs: one JSON line an event on standard output. Events are `noun.verb`, facts are key-values with units.

Never logged: tokens, account numbers, payloads, whole bodies. Therefore tracebacks are without local variables, which the
libraries underneath hold too: a frame of the driver or of the HTTP server has the password or the body in it.
"""

import logging
import sys
from typing import Any

import orjson
import structlog

get_logger = structlog.stdlib.get_logger


def configure(process: str, *, log_format: str = "json") -> None:
    """Send this process's log to standard output as JSON lines, or as text for a person. Safe to repeat."""
    is_json = log_format == "json"
    renderer: Any = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if is_json
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if is_json:
        without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        shared.append(structlog.processors.ExceptionRenderer(without_locals))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process=process)
    foreign = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processor=renderer)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(foreign)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _as_json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=repr).decode()
