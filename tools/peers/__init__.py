"""Channel pruning by other libraries, as arms of a benchmark: python tools/channels.py."""
