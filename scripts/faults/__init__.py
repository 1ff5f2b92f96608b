"""The faults that scripts/reliability.py injects: one module for each kind, on the programs of `program`."""
