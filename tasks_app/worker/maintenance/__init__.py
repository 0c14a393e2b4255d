"""Maintenance: the sweep, tasks of dead workers, retention and bulk work.

Imports `journal`, `claiming` and what is below; not `execution`.
"""
