"""The admin of servers, navigators' permissions and credentials.

Imports `integrations` and `accounts`.
"""

from caylex_project.integrations.admin import credentials, navigators, servers

__all__ = ["credentials", "navigators", "servers"]
