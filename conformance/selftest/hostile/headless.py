"""Ends its first thread once it listens; another serves, a child for each connection."""

import ctypes
import sys
import threading

from honest import listen, serve

listener = listen(int(sys.argv[1]))
threading.Thread(target=serve, args=(listener,)).start()
ctypes.CDLL(None).pthread_exit(None)
