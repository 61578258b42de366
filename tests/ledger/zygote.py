"""A process that has collected once, so that kills hit the run and not the imports.

For each line on its stdin (arguments, file for the output, and after how many seconds to kill, or null) it forks a
collector, kills it where it still runs then, and says on stdout how it ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys

import psycopg  # noqa: F401
import pymysql  # noqa: F401

from scarbon.cli import main as scarbon


def main() -> None:
    with contextlib.suppress(SystemExit):
        scarbon()  # by the arguments of this process
    for line in sys.stdin:
        words, log, after_s = json.loads(line)
        child = os.fork()
        if child == 0:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(output, 1)
            os.dup2(output, 2)
            sys.argv = ["scarbon", *words]
            scarbon()
        running = os.pidfd_open(child)
        if not select.select([running], [], [], after_s)[0]:
            signal.pidfd_send_signal(running, signal.SIGKILL)
        os.close(running)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
