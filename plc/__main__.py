"""``python -m plc`` is the ``plc`` command."""

from plc.cli.app import main

if __name__ == "__main__":
    main()
