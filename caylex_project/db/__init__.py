"""What Django's database layer lacks: compiled queries and a pooled connection.

Imports no app.
"""
