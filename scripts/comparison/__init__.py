"""Compares Graft with its peers: the same data, the same jobs, in turns. scripts/compare runs it.

jobs/       one file a job: who takes part, with which settings, and what has to be equal
peers/      one file a library: what it does in each job, as its documentation says that it is done best
data.py     what all of them read
turns.py    rounds of turns, each a process of its own, with its peak of memory
worker.py   the process of a peer in Python
journal.py  what was measured, a line a turn, so that an interrupted comparison goes on where it was
page.py     docs/performance.md out of the journal; charts.py its charts

Only what peers/ and data.py do needs the large environment. The rest is the standard library's, and Tests/Comparison tests it.
"""
