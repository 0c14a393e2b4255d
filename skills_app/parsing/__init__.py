"""Reading skills from folders, uploads and SKILL.md text, with no database.

Imports nothing else of `skills_app`.
"""
