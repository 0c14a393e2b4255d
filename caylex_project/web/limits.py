"""What strangers may spend of a web process before anybody knows who they are.

docs/security.md lists what each of these costs, in "Who can spend what".
"""

from __future__ import annotations

# Of one request, in bytes.
MAX_TARGET = 32_000  # the address, query included
MAX_HEADERS = 16_000  # names and values together; likewise the trailers of a chunked body
MAX_HEADER_LINES = 100
MAX_LINE = 17_000  # one line that is not complete: a header, a chunk's size and extensions
# A prompt of 100,000 characters takes up to 1.2 MB where a client escapes each of them.
MAX_BODY = 1_500_000
# Pages of the admin that take a file: the larger bodies are for those alone who may open the page.
UPLOADS = {"/admin/skills_app/skill/add/": 21_200_000}

# Of one connection.
MAX_PIPELINED = 16  # requests that were sent before the answer to an earlier one
HEAD_SECONDS = 10.0  # from the connection, or the first byte of a request, to the end of the head
BODY_SECONDS = 30.0  # from the end of the headers to the end of the body
WRITE_SECONDS = 30.0  # for which a client may leave all that was sent to it unread
LINGER = 2.0  # for which input is discarded after a refusal, so that a busy sender can read it

# Of all requests together.
MAX_BODIES = 64_000_000  # bytes of bodies that are held, from their first byte to the answer
MAX_WAITING = 2_000  # requests that wait for a thread, of each kind
WAIT_SECONDS = 4.0  # the longest of those waits
WAIT_SECONDS_IN_OUTAGE = 1.0  # ... while the database does not answer
