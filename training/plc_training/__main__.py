"""``python -m plc_training train`` is ``plc train``: what torchrun starts."""

from plc_training.cli import main

if __name__ == "__main__":
    main()
