"""The admin of what the agent may talk to, and as whom."""

from caylex_project.integrations.admin import credentials, navigators, servers

__all__ = ["credentials", "navigators", "servers"]
