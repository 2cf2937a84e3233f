"""The console: a page on which a customer's users watch their clients' banks. Reads only; signing in is all it writes."""

from ingress.console.routes import Console

__all__ = ["Console"]
