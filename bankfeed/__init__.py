"""Bankfeed: what both processes, ingress and worker, share."""

__version__ = "0.1.0"
