"""Runs of a driver, as the record has them."""

from search.storage.provenance import DataSummary, DriverRun, Hardware


def driver_run(at: float, until: float | None, slots: int = 2) -> DriverRun:
    hardware = Hardware(machines=1, cpus=2, gpus=0, processor="")
    data = DataSummary(name="", sizes={}, notes=[])
    return DriverRun(
        at=at, until=until, slots=slots, command="", versions={}, hardware=hardware, data=data
    )
