"""A textbook fork per connection, nothing else."""

import sys

from honest import listen, serve

serve(listen(int(sys.argv[1])))
