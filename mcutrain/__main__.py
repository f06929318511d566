"""`python -m mcutrain` is the command `mcutrain`."""

from mcutrain.cli.main import main

if __name__ == "__main__":
    main()
