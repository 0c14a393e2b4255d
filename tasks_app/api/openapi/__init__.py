"""The OpenAPI description of the API, its examples, and the two pages that show it.

Imports requests and responses; the views import it.
"""
