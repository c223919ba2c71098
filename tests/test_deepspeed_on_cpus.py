"""What is done to DeepSpeed where there is no GPU."""

from types import SimpleNamespace

from probes.deepspeed_on_cpus import wait_for_each_gather, without_shm_op


class Handle:
    def __init__(self):
        self.waited = 0

    def wait(self):
        self.waited += 1


def communication():
    """A module that gathers as DeepSpeed's does: with a handle where it is asynchronous."""
    return SimpleNamespace(all_gather_into_tensor=lambda output, tensor, async_op=False: Handle() if async_op else None)


def test_a_gather_has_arrived_once_it_was_begun():
    module = communication()
    wait_for_each_gather(module)

    assert module.all_gather_into_tensor("output", "tensor", async_op=True).waited == 1
    assert module.all_gather_into_tensor("output", "tensor") is None


def test_it_is_wrapped_once():
    module = communication()
    wait_for_each_gather(module)
    wrapped = module.all_gather_into_tensor
    wait_for_each_gather(module)

    assert module.all_gather_into_tensor is wrapped


def test_releases_without_the_function_or_the_op_stay_as_they_are():
    module = SimpleNamespace()
    wait_for_each_gather(module)
    without_shm_op(module)

    assert vars(module) == {}


def test_the_op_for_shared_memory_is_left_out():
    module = SimpleNamespace(__compatible_ops__={"deepspeed_shm_comm": True, "fused_adam": True})
    without_shm_op(module)

    assert module.__compatible_ops__ == {"deepspeed_shm_comm": False, "fused_adam": True}
