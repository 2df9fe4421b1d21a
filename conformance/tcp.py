"""The states of a TCP connection, by the kernel's numbers and by the names of RFC 9293 3.3.2."""

from __future__ import annotations

__all__ = ["TCP_STATES"]

#: By number, as TCP_INFO and sock_diag give them (linux/tcp_states.h).
TCP_STATES = (
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)
