"""The fault harness, `make chaos`: break the system, then prove that nothing was lost.

Two modes inject faults from one list, record acknowledged events in one ledger and compare the
database with it in one way: a run under load with all faults (`chaos.py`), and short runs of random
histories with killed processes (`torture.py`, `make torture`). The tests in `tests/faults` inject
single faults and use the same load, ledger and comparison.
"""
