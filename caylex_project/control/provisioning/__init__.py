"""Provisioning as code: a file that says what there is, and what makes it so."""
