"""The adapter of the tools port: MCP servers over HTTP.

Imports `net` and the values of `agent_runtime`; not the loop, not `llm`.
"""
