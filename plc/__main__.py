"""``python -m plc`` is the ``plc`` command."""

from plc.programs.cli import main

if __name__ == "__main__":
    main()
