"""`python -m pinode` is the command `pinode`."""

from pinode.cli.main import main

if __name__ == "__main__":
    main()
