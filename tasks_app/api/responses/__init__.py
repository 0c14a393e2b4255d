"""The bodies of responses as frozen values, each made from what a query returns.

Imports no view and no request.
"""
