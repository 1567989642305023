"""`python -m cpln_flows`: the command line, where its program is not on the PATH."""

from cpln_flows.cli import main

if __name__ == "__main__":
    main()
