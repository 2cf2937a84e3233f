"""The REST API under /api/v1: one file a noun, each a list of routes; route.py says what a route is, door.py serves them.

A noun's file holds what its requests and answers look like (msgspec structs, camelCase on the wire), its handlers, and
`ROUTES`. The OpenAPI text is made from the same structs that decode requests.
"""
