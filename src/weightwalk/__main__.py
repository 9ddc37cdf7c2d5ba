"""`python -m weightwalk`, and so `torchrun --nproc-per-node 2 -m weightwalk train ...`."""

from weightwalk.cli import main

if __name__ == "__main__":
    main()
