"""The process of a peer in Python: does one thing so many times, and says how long each time took.

    python -m comparison.worker PEER CALL ARGUMENTS --times N      prints the seconds of each time
    python -m comparison.worker PEER CALL ARGUMENTS --check        does it once, and prints the digests of the result

ARGUMENTS is a JSON object. Imports, and what a call does before it returns a function to be timed, are not in the times: a call either is
the function that is timed or, where it is marked with `prepared`, returns it. What the function returns is a dictionary of arrays by name,
all of them ready, or None where it wrote something.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import json
import logging
import os
import time
import warnings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("call")
    parser.add_argument("arguments", type=json.loads)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    os.environ["JAX_PLATFORMS"] = "cpu"
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    module = importlib.import_module(f"comparison.peers.{options.peer}")
    call = getattr(module, options.call)
    function = call(**options.arguments) if getattr(call, "is_prepared", False) else functools.partial(call, **options.arguments)
    if options.check:
        from comparison.digests import digests

        print(json.dumps({"digests": digests(function())}))
        return
    before = _resident_mib()
    seconds = []
    for _ in range(options.times):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
        # What a program would have to do, too, before it can load again.
        del result
        gc.collect()
    print(json.dumps({"seconds": seconds, "before_mib": before}))


def _resident_mib() -> float:
    """What is resident before the first time: the interpreter, the libraries, and what was prepared."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
