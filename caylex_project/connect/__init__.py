"""The page on which an end user without an account connects servers.

Imports any app but `control`; no app imports it.
"""
