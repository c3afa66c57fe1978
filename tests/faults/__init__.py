"""Tests that inject one kind of fault into real processes and servers, under load.

They use the load, the ledger and the comparison of `tests/chaos`: each acknowledged event is stored
once, as sent, on the right profile.
"""
