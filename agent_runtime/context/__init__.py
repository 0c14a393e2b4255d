"""What of a long transcript the model is sent.

Imports the values of `agent_runtime`; no adapter.
"""
