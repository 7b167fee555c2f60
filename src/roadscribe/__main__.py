"""`python -m roadscribe` is the same as `roadscribe`."""

from roadscribe.cli import main

if __name__ == "__main__":
    main()
