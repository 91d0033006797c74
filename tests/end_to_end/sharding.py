"""Shard a model without a GPU: Accelerate offers it on GPUs only, but what it calls works on CPUs too."""

from contextlib import contextmanager

from perpixel.train import loop, processes


def shard(*layers):
    """From here on, let the training loop use FSDP 2, with the named classes of modules sharded one by one."""

    @contextmanager
    def sharding(recipe):
        from accelerate import PartialState
        from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

        policy = {"auto_wrap_policy": "no_wrap"}
        if layers:
            policy = {"auto_wrap_policy": "transformer_based_wrap", "transformer_cls_names_to_wrap": list(layers)}
        with processes.accelerated(recipe) as accelerator:
            before = PartialState().distributed_type
            PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
            accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2, cpu_offload=False, **policy)
            assert accelerator.is_fsdp2
            yield accelerator
            PartialState().distributed_type = before

    loop.accelerated = sharding
