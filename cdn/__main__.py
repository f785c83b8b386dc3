"""`python -m cdn`."""

from cdn.cli.main import main

if __name__ == "__main__":
    main()
