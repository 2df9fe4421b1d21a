"""What the hostile servers beside this file begin as: a textbook fork per connection."""

import os
import signal
import socket
import threading


def listen(port, host="127.0.0.1"):
    """A socket that listens there."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(128)
    return listener


def listen_on_path(path):
    """A UNIX socket that listens there."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)
    return listener


def echo(connection):
    """Everything back, until the client has ended."""
    while data := connection.recv(65536):
        connection.sendall(data)


def serve(listener, handle=echo):
    """A child for every connection, for ever."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            try:
                handle(connection)
            finally:
                os._exit(0)
        connection.close()
