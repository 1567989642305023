"""The import names of prefect-cpln, served by cpln_flows: programs written for it run unchanged."""

from importlib.metadata import PackageNotFoundError, distribution, version

from cpln_flows import (
    CplnClient,
    CplnConfig,
    CplnCredentials,
    CplnJob,
    CplnWorker,
    run_namespaced_job,
)

__all__ = [
    "CplnClient",
    "CplnConfig",
    "CplnCredentials",
    "CplnJob",
    "CplnWorker",
    "__version__",
    "run_namespaced_job",
]

__version__ = version("cpln-flows")


def _refuse_the_other_one() -> None:
    try:
        distribution("prefect-cpln")
    except PackageNotFoundError:
        return
    raise ImportError(
        "prefect-cpln and cpln-flows are both installed and both own the package prefect_cpln; run"
        " `pip uninstall prefect-cpln` and then"
        " `pip install --force-reinstall --no-deps cpln-flows`"
    )


_refuse_the_other_one()
