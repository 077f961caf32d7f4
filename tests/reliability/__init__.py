"""The proof of the promise: kills, errors, lost power, damage, edits of the protocol, several processes.

What is common: `disk` watches, kills, fails and traces the calls that change a disk; `cases` says what is
stored, how it is changed and what may be there afterwards; `server` is the single-threaded process that
forks. A default run takes a small share of the points, the nightly marker all of them; each test says how
many it reached.
"""
