"""Claims: which tasks are due, fairness, concurrency limits and quarantine.

Imports `process` and `database`; not `journal`.
"""
