"""The adapter of the model port: chat completions over HTTP.

Imports `net` and the values of `agent_runtime`; not the loop, not `mcp`.
"""
