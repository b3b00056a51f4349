"""The command ``python -m plc_training``, which torchrun starts."""

from plc_training.cli import main

if __name__ == "__main__":
    main()
