"""The console: pages on which a customer's users watch their clients' banks, link and repair them, and see to cases."""

from ingress.console.routes import Console

__all__ = ["Console"]
