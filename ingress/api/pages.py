"""Pages by key: an opaque cursor holds the last row's key, so that a page stays where it is while rows come and go."""

from bankfeed.cursor import read_cursor, write_cursor

__all__ = ["read_cursor", "write_cursor"]
