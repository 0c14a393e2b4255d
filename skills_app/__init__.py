"""Skills: the SKILL.md standard, revisions and their files.

Imports `integrations` and `accounts`; not `tasks_app`.
"""
