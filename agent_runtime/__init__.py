"""The agent: the pure loop, its transcript and limits, two ports and their adapters.

Imports no Django and none of the other packages.
"""
