"""`python -m sekisho.capacity.manual --listen HOST:PORT [--model NAME] [--exit-with-parent]`."""

import argparse

from sekisho.capacity.manual.server import run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sekisho.capacity.manual", description=__doc__)
    parser.add_argument("--listen", required=True, type=_address, metavar="HOST:PORT", help="port 0 takes a free one")
    parser.add_argument("--model", default="manual", help="the name it is served under")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input does")
    arguments = parser.parse_args()
    host, port = arguments.listen
    run(host, port, arguments.model, exit_with_parent=arguments.exit_with_parent)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()
