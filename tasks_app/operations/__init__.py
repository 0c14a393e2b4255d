"""What can be done with tasks. Views, admin actions and commands call these."""
