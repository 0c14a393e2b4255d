"""The admin site: sign-in, the second factor, and which query parameters its pages take.

Imports `accounts`; not `accounts.admin`, whose modules register on the site.
"""
