"""The demonstration: the whole service on one machine, with a tool server and an offline model."""
