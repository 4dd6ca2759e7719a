"""A client of another language and another house, which knows nothing but the contracts.

    python -m pytest tests/interop --binaries target/release

Its stubs are generated from `proto/` when the tests begin; the services are the binaries in the given folder.
"""

import os
import pathlib
import sys
import tempfile

import grpc_tools
import pytest
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parents[2] / "proto"

STUBS = tempfile.TemporaryDirectory(prefix="otklik-stubs-")


def pytest_addoption(parser):
    parser.addoption(
        "--binaries",
        default=os.environ.get("OTKLIK_BINARIES", "target/release"),
        help="folder of otklik-intake, otklik-classification and the others",
    )


def pytest_configure(config):
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    files = [str(path.relative_to(PROTO)) for path in sorted(PROTO.glob("otklik/*/v1/*.proto"))]
    assert files, f"no contracts under {PROTO}"
    arguments = [f"-I{PROTO}", f"-I{well_known}", f"--python_out={STUBS.name}", f"--grpc_python_out={STUBS.name}"]
    if protoc.main(["protoc", *arguments, *files]) != 0:
        raise pytest.UsageError("stubs can't be generated from the contracts")
    sys.path.insert(0, STUBS.name)


def pytest_unconfigure(config):
    STUBS.cleanup()


@pytest.fixture(scope="session")
def suite(pytestconfig):
    from suite import Suite

    with Suite(pathlib.Path(pytestconfig.getoption("binaries"))) as running:
        yield running


@pytest.fixture(scope="session")
def people(suite):
    """Whoever calls, by what they are; each acts in one role unless said otherwise."""
    from suite import Person

    roles = ["gateway", "moderator", "coordinator", "executor", "approver", "observer", "auditor", "administrator"]
    return {role: Person(suite.issuer, f"user:{role}-1", [role]) for role in roles}
