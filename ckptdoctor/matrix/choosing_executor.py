"""Where a matrix is run: on this machine, or on a cluster."""

from __future__ import annotations

from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.executor import Executor, Local
from ckptdoctor.matrix.request import MatrixRequest


def choose(request: MatrixRequest, environments: Environments) -> Executor:
    """The executor that a request names.

    Args:
        request: What is judged, and where.
        environments: Makes what is run in on this machine.

    Raises:
        UsageFault: Ray is not installed, or nothing answers at the cluster's address.
    """
    if request.cluster is None:
        return Local(environments, request.jobs)
    from ckptdoctor.matrix import ray_executor

    return ray_executor.connected(request, environments)
