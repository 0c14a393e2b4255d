"""Health, metrics, the doctor and the system checks.

Imports everything of `tasks_app` but `api` and `admin`.
"""
