"""Servers, tool permissions and credentials: what the agent may talk to, and as whom.

Imports `accounts` and `agent_runtime`; not the apps above.
"""
