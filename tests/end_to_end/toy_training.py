"""A program: `perpixel train` with the toy for every task, in as many processes as started it."""

import os
import sys

from end_to_end.sharding import shard
from perpixel.cli import main
from perpixel.train import tasks
from train.toy_task import ToyTask

if __name__ == "__main__":
    tasks.training_task = ToyTask
    if "SHARDED" in os.environ:
        shard("Conv2d")
    sys.exit(main(["train", *sys.argv[1:]]))
