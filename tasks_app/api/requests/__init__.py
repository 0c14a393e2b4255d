"""What the API is sent, as frozen values: one class for each body, and how it is read."""
