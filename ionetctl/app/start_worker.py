"""The start of a worker process: ``python -P -m ionetctl.app.start_worker DESCRIPTOR``. What it is stands in ``worker``."""

import sys

from ionetctl.core.garbage_collection import collect_rarely

if __name__ == "__main__":
    collect_rarely()
    # Only now, since to import it is most of a worker's start.
    from ionetctl.app.worker import work

    work(int(sys.argv[1]))
