"""A model server that answers by a fixed policy, without a network.

Imports nothing of the service.
"""
