"""The OAuth 2.1 client for MCP servers: discovery, registration and tokens.

Imports `net` and `errors`; no Django.
"""
