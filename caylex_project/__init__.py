"""The deployment: settings, addresses, logs, and the packages that the apps stand on.

Its modules and apps are layers, listed in `pyproject.toml`.
"""

VERSION = "0.1.0"
