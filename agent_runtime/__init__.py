"""The agent, with no Django in it: values, the pure loop, two ports and their adapters."""
