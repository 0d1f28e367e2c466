"""How fast the whole system is, and how fast its log alone would be: workloads, floors, profiles.

`python -m bench` measures; `python -m bench.profile` says where the CPU time goes.
The engine never imports any of it.
"""
