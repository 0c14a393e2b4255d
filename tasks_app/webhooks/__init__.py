"""Webhooks: the outbox's rows, signed and sent until a receiver accepts them.

The one package of `tasks_app` that opens sockets (`client`). Imports `notifications`, `queries`
and `models`. After the Standard Webhooks specification:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""
