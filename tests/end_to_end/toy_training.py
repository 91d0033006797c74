"""A program: `perpixel train` with the toy for every task, in as many processes as started it.

With SHARDED in the environment the model is sharded over them (FSDP 2). Accelerate does so on GPUs only, but what it
calls works on CPUs too: the program tells it that this is a case for it.
"""

import os
import sys
from contextlib import contextmanager

from perpixel.cli import main
from perpixel.train import loop, processes, tasks
from train.toy_task import ToyTask


@contextmanager
def sharding(recipe):
    from accelerate import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    with processes.accelerated(recipe) as accelerator:
        layers = {"auto_wrap_policy": "transformer_based_wrap", "transformer_cls_names_to_wrap": ["Conv2d"]}
        plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_offload=False, **layers)
        PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
        assert accelerator.is_fsdp2
        yield accelerator


if __name__ == "__main__":
    tasks.training_task = ToyTask
    if "SHARDED" in os.environ:
        loop.accelerated = sharding
    sys.exit(main([*(["--debug"] if "DEBUG" in os.environ else []), "train", *sys.argv[1:]]))
