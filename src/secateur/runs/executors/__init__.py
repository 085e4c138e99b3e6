"""Who makes a graph of runs: this process, several of this machine, or the workers of a Ray cluster.

here       one run after the other, in this process
sharing    what is begun next, in which worker, and what becomes of it; the pools carry the calls
worker     what a worker does: it takes up one run and makes it
events     what a worker says meanwhile, through a file
choice     which of them, as `--workers` and `--on` say
"""
