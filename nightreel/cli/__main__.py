"""`python -m nightreel.cli`: the same door without an installed script."""

from nightreel.cli import main

main()
