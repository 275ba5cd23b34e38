"""`python -m fc_pipeline.cli` is `fc-pipeline`."""

from fc_pipeline.cli.main import main

main()
