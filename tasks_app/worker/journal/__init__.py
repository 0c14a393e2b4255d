"""The journal: what a turn changes, committed in groups by one fenced write.

Imports `process` and `database`; not `claiming`.
"""
