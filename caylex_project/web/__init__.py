"""The ASGI layers in front of Django, outermost first: limits, long polling, 304s, streams.

Imports `db`; no app: what they wait for is handed in.
"""
