"""The OpenAPI description of the API: what its views say about themselves, and its two pages."""
