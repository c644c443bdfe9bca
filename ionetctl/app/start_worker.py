"""The start of a worker process: ``python -P -m ionetctl.app.start_worker DESCRIPTOR``. What it is stands in ``worker``."""

import sys

from ionetctl.core.garbage_collection import collect_rarely
from ionetctl.credentials.core_dumps import turn_off_core_dumps

if __name__ == "__main__":
    collect_rarely()
    turn_off_core_dumps()
    # Only now, since to import it is most of a worker's start.
    from ionetctl.app.worker import work

    work(int(sys.argv[1]))
