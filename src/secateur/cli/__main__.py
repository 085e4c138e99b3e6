"""`python -m secateur.cli`."""

from secateur.cli.main import main

main()
