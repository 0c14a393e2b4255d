"""The endpoints: they read a request, call an operation or a query, and return its result.

Imports the other packages of `api`.
"""
