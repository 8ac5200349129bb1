"""``python -m orm.testing.mysql``: unpack the servers' programs."""

import sys

from orm.testing.mysql.packages import main

sys.exit(main(sys.argv[1:]))
