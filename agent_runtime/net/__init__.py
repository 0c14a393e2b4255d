"""Outgoing connections: which addresses are allowed, and secrets cut out of what comes back.

Imports nothing else of `agent_runtime`.
"""
