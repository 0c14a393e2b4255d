"""The deployment: settings, addresses, and what stands below everything else."""

VERSION = "0.1.0"
