"""``python -m plc_bench`` is ``plc bench``."""

from plc_bench.cli import main

if __name__ == "__main__":
    main()
