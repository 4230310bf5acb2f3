"""`python -m pgan`, which torchrun needs."""

from pgan.cli import main

if __name__ == "__main__":
    main()
