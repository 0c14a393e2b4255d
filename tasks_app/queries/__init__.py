"""What is read of tasks: one task, lists, events, transcripts and traces.

Imports `models`; changes nothing.
"""
