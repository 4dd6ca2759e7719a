"""The end of every service: the last file, for afterwards none is left."""

import signal
import time

import pytest
from grpc import RpcError
from grpc_health.v1 import health_pb2

from otklik.ledger.v1 import ledger_service_pb2
from suite import BINARIES, LEDGERS, PATIENCE

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("name", BINARIES)
def test_sigterm_drains(suite, people, name):
    health = suite.health(name).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(health).status == health_pb2.HealthCheckResponse.SERVING
    stream = None
    if name in LEDGERS:
        stream = people["auditor"](
            suite.ledgers[name].StreamEntries, ledger_service_pb2.StreamEntriesRequest(), timeout=PATIENCE
        )
        next(stream)

    begin = time.monotonic()
    suite.processes[name].send_signal(signal.SIGTERM)
    assert next(health).status == NOT_SERVING, "load balancers are told before connections go"
    if stream is not None:
        # It ends with OK: whoever reads on elsewhere has lost nothing.
        for _ in stream:
            pass
    try:
        for _ in health:
            pass
    except RpcError:
        pass
    assert suite.processes[name].wait(PATIENCE) == 0, suite.log(name).read_text()
    assert time.monotonic() - begin < PATIENCE


def test_nothing_went_wrong_unseen(suite):
    for name in BINARIES:
        log = suite.log(name).read_text()
        assert "panicked" not in log, log
