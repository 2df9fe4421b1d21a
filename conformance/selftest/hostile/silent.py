"""Takes connections and says nothing to anybody."""

import signal
import sys

from honest import listen, serve

serve(listen(int(sys.argv[1])), lambda connection: signal.pause())
