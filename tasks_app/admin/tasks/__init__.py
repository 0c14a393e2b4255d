"""The list of tasks and a task's page.

Imports the other modules of `admin`.
"""
