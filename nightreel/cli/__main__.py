"""`python -m nightreel.cli`: the command line without an installed script."""

from nightreel.cli import main

main()
