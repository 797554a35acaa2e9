"""`python -m potstill`, for torchrun."""

from potstill.cli import main

if __name__ == "__main__":
    main()
