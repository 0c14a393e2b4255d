"""The endpoints: they read a request, call an operation or a query, and show what it says."""
