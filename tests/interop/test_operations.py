"""What a platform asks of a service: health, reflection, and a command line that tells what is wrong."""

import pytest
from google.protobuf import descriptor_pool
from grpc import RpcError, StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from suite import BINARIES, LEDGERS

SERVING = health_pb2.HealthCheckResponse.SERVING

#: The main gRPC service of each.
SERVICES = {
    "intake": "otklik.intake.v1.IntakeService",
    "classification": "otklik.classification.v1.ClassificationService",
    "assignment": "otklik.assignment.v1.AssignmentService",
    "feedback": "otklik.feedback.v1.FeedbackService",
    "audit": "otklik.audit.v1.AuditService",
    "channel": "otklik.channel.v1.ChannelAdapterService",
}


@pytest.mark.parametrize("name", BINARIES)
def test_health_is_told_by_service_without_a_token(suite, name):
    names = ["", "liveness", SERVICES[name]]
    if name in LEDGERS:
        names.append("otklik.ledger.v1.LedgerService")
    for service in names:
        answer = suite.health(name).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
        assert answer.status == SERVING, service
    with pytest.raises(RpcError) as unknown:
        suite.health(name).Check(health_pb2.HealthCheckRequest(service="otklik.none.v1.None"), timeout=5)
    assert unknown.value.code() == StatusCode.NOT_FOUND


class V1:
    """A channel that asks for version 1 of reflection where Python's client names the alpha before it.

    Both have the same messages; the suite serves version 1 only.
    """

    def __init__(self, channel):
        self.channel = channel

    def stream_stream(self, path, *arguments, **options):
        return self.channel.stream_stream(path.replace(".v1alpha.", ".v1."), *arguments, **options)


@pytest.mark.parametrize("name", BINARIES)
def test_a_client_can_learn_the_contract_by_reflection(suite, name):
    database = ProtoReflectionDescriptorDatabase(V1(suite.channels[name]))
    offered = set(database.get_services())
    assert SERVICES[name] in offered
    assert "grpc.health.v1.Health" in offered
    assert ("otklik.ledger.v1.LedgerService" in offered) == (name in LEDGERS)
    pool = descriptor_pool.DescriptorPool(database)
    for service in offered:
        for method in pool.FindServiceByName(service).methods:
            assert method.input_type.full_name and method.output_type.full_name


@pytest.mark.parametrize("name", BINARIES)
def test_the_command_line_asks_the_running_service(suite, name):
    host = suite.shared[f"OTKLIK_PEERS_{name.upper()}"].removeprefix("http://")
    done = suite.run(name, "healthcheck", OTKLIK_LISTEN=host)
    assert done.returncode == 0 and "SERVING" in done.stdout, done
    nobody = suite.run(name, "healthcheck", OTKLIK_LISTEN="127.0.0.1:1")
    assert nobody.returncode == 1 and nobody.stderr, nobody


@pytest.mark.parametrize("name", BINARIES)
def test_a_bad_configuration_is_one_line_and_exit_code_64(suite, name):
    sound = suite.run(name, "check-config")
    assert sound.returncode == 0, sound
    bad = suite.run(name, "serve", OTKLIK_LISTEN="0.0.0.0:0", OTKLIK_PARTITIONS="0", OTKLIK_NONSENSE="1")
    assert bad.returncode == 64, bad
    complaint = bad.stderr.strip()
    assert "\n" not in complaint
    # All that is wrong at once: callers are not authenticated, partitions, an unknown key.
    assert all(word in complaint for word in ("listen", "partitions", "OTKLIK_NONSENSE")), complaint


@pytest.mark.parametrize("name", BINARIES)
def test_a_printed_configuration_keeps_its_secrets(suite, name):
    url = "postgres://otklik:dont-tell@db.example/otklik"
    printed = suite.run(name, "print-config", OTKLIK_DATABASE_URL=url)
    assert printed.returncode == 0, printed
    assert "listen" in printed.stdout and "dont-tell" not in printed.stdout + printed.stderr


@pytest.mark.parametrize("name", LEDGERS)
def test_a_database_can_be_prepared_before_the_service_starts(suite, name):
    folder = f"prepared-{name}"
    for _ in range(2):
        done = suite.run(name, "migrate", OTKLIK_DATA_DIR=folder)
        assert done.returncode == 0, done
    assert any((suite.root / folder).iterdir())
