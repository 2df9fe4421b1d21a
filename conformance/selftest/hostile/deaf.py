"""Lives, and never listens."""

import signal

signal.pause()
