"""The bodies of requests as frozen values, and their validation.

Imports no view and no response.
"""
