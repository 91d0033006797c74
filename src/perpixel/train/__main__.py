"""`python -m perpixel.train RECIPE.yaml [name=value …]`: train as a recipe says."""

from __future__ import annotations

import sys

from perpixel.errors import PerpixelError


def main(arguments: list[str]) -> int:
    """Run the training that the arguments name; 0 when done, 1 on an error, 2 on wrong usage."""
    from perpixel.train.loop import train
    from perpixel.train.recipe import load_recipe

    if not arguments or arguments[0] in ("-h", "--help"):
        sys.stdout.write("usage: python -m perpixel.train RECIPE.yaml [name=value …]\n")
        return 0 if arguments else 2
    try:
        folder = train(load_recipe(arguments[0], arguments[1:]))
    except PerpixelError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"saved {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
