"""Telling addresses that asked: the outbox's rows, signed and sent until they are taken.

The one place in `tasks_app` that opens sockets (`post`). After the Standard Webhooks
specification: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""
