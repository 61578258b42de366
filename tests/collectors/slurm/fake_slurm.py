"""A stand-in for `sacct` and `sacctmgr`, whichever it is called as: it refuses any option that it does not know.

Its world is a JSON file, and SLURM_CONF says where it is: `rows` (fields as sacct writes them, with epoch seconds, and
`_eligible` and `_end` for the window), `clusters`, `fields`, what `sacctmgr` answers, and `fault`.
"""

import argparse
import calendar
import json
import os
import sys
import time
from pathlib import Path

WORLD = json.loads(Path(os.environ["SLURM_CONF"]).read_text())
INSTANTS = ("Submit", "Start", "End")


def main() -> None:
    unknown = set(os.environ) - {
        "PATH", "LD_LIBRARY_PATH", "SLURM_CONF", "TZ", "LC_ALL", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN", "LC_CTYPE",
        "SLURM_CONF_SERVER", "SLURM_JWT", "PWD", "SHLVL", "_",
    }  # fmt: skip
    if unknown:
        sys.exit(f"sacct: error: the environment holds {', '.join(sorted(unknown))}")
    with Path(os.environ["SLURM_CONF"] + ".calls").open("a") as calls:
        calls.write(json.dumps(sys.argv) + "\n")
    if Path(sys.argv[0]).name == "sacctmgr":
        sacctmgr()
    else:
        sacct()


def sacctmgr() -> None:
    question = " ".join(sys.argv[1:])
    for asked, said in WORLD["sacctmgr"].items():
        if question == asked:
            sys.stdout.write(said)
            return
    sys.exit(f"sacctmgr: error: Unknown option: {question}")


def sacct() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    flags = ("--allusers", "--duplicates", "--allocations", "--parsable", "--noconvert", "--helpformat")
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    for option in ("--delimiter", "--clusters", "--starttime", "--endtime", "--format"):
        parser.add_argument(option)
    options = parser.parse_args()
    if options.helpformat:
        print(*WORLD["fields"], sep="\n")
        return
    if not all(vars(options)[flag[2:]] for flag in flags[:5]):
        sys.exit("sacct: error: this test wants all users, duplicates, allocations, a parsable answer and --noconvert")
    columns = options.format.split(",")
    for column in columns:
        if column not in WORLD["fields"]:
            sys.exit(f'sacct: error: Invalid field requested: "{column}"')
    fault = WORLD.get("fault", "")
    if fault == "silent":
        time.sleep(600)
    if fault == "late failure":
        sys.exit("sacct: error: Problem talking to the database: Connection refused")
    write(columns, columns, options.delimiter)
    if fault == "failure":
        sys.exit("sacct: error: slurm_persist_conn_open: No response to persist_init\nsacct: error: no database")
    if fault == "failure that ends well":
        print("sacct: error: Problem talking to the database", file=sys.stderr)
        return
    if fault == "warning":
        print("sacct: error: slurm.conf: an option that is no more", file=sys.stderr)
    since, until = instant(options.starttime), instant(options.endtime)
    for row in WORLD["rows"]:
        if row["Cluster"] != options.clusters or not row["_eligible"] < until:
            continue
        if row["_end"] and row["_end"] < since:
            continue
        values = [row[column] for column in columns]
        if os.environ.get("SLURM_TIME_FORMAT") != "%s":
            sys.exit("sacct: error: this test wants epoch seconds")
        write(columns, values, options.delimiter)
        if fault == "broken off":
            sys.stdout.write(options.delimiter.join(values[:5]))
            return


def instant(text: str) -> int:
    if os.environ.get("TZ") != "UTC":
        sys.exit("sacct: error: this test wants times in UTC")
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))


def write(columns: list[str], values: list[str], delimiter: str) -> None:
    sys.stdout.buffer.write("".join(value + delimiter for value in values).encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
