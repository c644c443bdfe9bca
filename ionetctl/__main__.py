"""``python -m ionetctl``."""

from ionetctl.cli.app import main

if __name__ == "__main__":
    main()
