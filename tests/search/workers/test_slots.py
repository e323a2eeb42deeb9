"""How many trials run at once on the machines of a cluster."""

import pytest

from cluster.local import Cluster, Machine
from minbert.errors import InputError


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"), [(1, 0, 8), (3, 0, 2), (1, 0.25, 8), (1, 1, 2), (1, 0.4, 4)]
)
def test_slots(cpus: int, gpus: float, slots: int) -> None:
    assert Machine(cpus=8, gpus=2).slots(cpus, gpus) == slots


class OfMachines(Cluster):
    """A cluster of one machine with 8 CPUs and 2 GPUs, and two with 3 CPUs."""

    def machines(self) -> list[Machine]:
        return [Machine(8, 2.0), Machine(3, 0.0), Machine(3, 0.0)]


def test_a_trial_is_all_on_one_machine() -> None:
    assert OfMachines().slots(4, 0) == 2
    assert OfMachines().slots(1, 0) == 14
    assert OfMachines().slots(1, 0.5) == 4


@pytest.mark.parametrize(("cpus", "gpus", "option"), [(9, 0, "cpus"), (1, 3, "gpus")])
def test_more_than_there_is(
    cpus: int, gpus: float, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OfMachines, "machines", lambda _: [Machine(8, 2.0)])
    with pytest.raises(InputError, match=f"--{option}-per-trial .: the cluster has"):
        OfMachines().check_room(cpus, gpus)
    # To a cluster that was joined such a machine may come.
    OfMachines(joined="10.0.0.7:6379").check_room(cpus, gpus)
