"""Timing a packed model beside other runtimes: same tokens, same threads, in turn. Nothing is trained or judged here.

`contenders/` holds one file for each runtime, and `worker.py` hosts one of them in a process of its own. `rounds.py`
says who runs when, `run.py` puts everything together, `summary.py` and `plot.py` make figures of the seconds.
"""
