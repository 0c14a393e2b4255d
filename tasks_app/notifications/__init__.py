"""Wake-ups of workers, and notifications of changed tasks to web processes.

Imports `queries` and `models`.
"""
