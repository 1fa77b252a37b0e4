"""``python -m kind up | demo | down``: see docs/try-it-on-kind.md."""

from __future__ import annotations

import argparse

from kind.cluster import down, up
from kind.demo import demo


def main() -> None:
    parser = argparse.ArgumentParser(prog="kind", description=__doc__)
    parser.add_argument("what", choices=("up", "demo", "down"))
    {"up": up, "demo": demo, "down": down}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
