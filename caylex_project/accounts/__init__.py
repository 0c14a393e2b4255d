"""Tenants, projects, keys, end users, staff and the audit trail.

Imports `web` and `db`; no other app.
"""
