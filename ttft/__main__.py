"""`python -m ttft`."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        # On a vantage host there is no typer.
        from ttft.vantage import main
    else:
        from ttft.cli import main
    main()
