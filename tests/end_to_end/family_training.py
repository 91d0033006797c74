"""A program: a few steps of every family on generated data, one after the other, in as many processes as started it."""

import os
import sys
from pathlib import Path

from end_to_end.sharding import shard
from perpixel.train import loop
from perpixel.train.processes import leave
from train.families import small_recipe

if __name__ == "__main__":
    if "SHARDED" in os.environ:
        shard()
    folder, *names = sys.argv[1:]
    for name in names:
        family, _, lora = name.partition("+")
        changes = {"lora": {"rank": 2}, "gradient_checkpointing": True} if lora else {}
        loop.train(small_recipe(family, Path(folder) / name, average=0.9, **changes))
    leave()
