"""The six services as processes of their own, with authentication on, and those who call them."""

import datetime
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import time

import grpc
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from grpc_health.v1 import health_pb2, health_pb2_grpc

from otklik.assignment.v1 import assignment_service_pb2_grpc
from otklik.audit.v1 import audit_service_pb2_grpc
from otklik.classification.v1 import classification_service_pb2_grpc
from otklik.feedback.v1 import feedback_service_pb2_grpc
from otklik.intake.v1 import intake_service_pb2_grpc
from otklik.ledger.v1 import ledger_service_pb2_grpc

#: Each service with its binary; `channel` is the adapter that answers leave by.
BINARIES = {
    "intake": "otklik-intake",
    "classification": "otklik-classification",
    "assignment": "otklik-assignment",
    "feedback": "otklik-feedback",
    "audit": "otklik-audit",
    "channel": "otklik-channel-file",
}
#: Those that keep a ledger.
LEDGERS = [name for name in BINARIES if name != "channel"]
ISSUER = "https://issuer.example"
AUDIENCE = "otklik"
#: How long something may take before the test gives up on it, in seconds.
PATIENCE = 30.0


def wait_for(what, probe, patience=PATIENCE):
    """Returns what `probe` returns as soon as that is true."""
    deadline = time.monotonic() + patience
    while True:
        found = probe()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {patience} s in vain for {what}"
        time.sleep(0.02)


class Issuer:
    """Signs tokens with a key of its own."""

    def __init__(self):
        self.key = ed25519.Ed25519PrivateKey.generate()

    def public_pem(self):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form)

    def token(self, subject, roles, lifetime=datetime.timedelta(hours=1), **claims):
        now = datetime.datetime.now(datetime.timezone.utc)
        ordinary = {"sub": subject, "roles": roles, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + lifetime}
        return jwt.encode(ordinary | claims, self.key, algorithm="EdDSA")


class Person:
    """Somebody with a token: `person(stub.Method, request)` is a call in that person's name."""

    def __init__(self, issuer, subject, roles):
        self.subject = subject
        self.token = issuer.token(subject, roles)

    def metadata(self, after=()):
        """`after` are (service, position) pairs that the answer must have seen."""
        seen = [
            ("otklik-after", f"{service}/{position.incarnation}/{position.partition}/{position.seq}")
            for service, position in after
        ]
        return [("authorization", f"Bearer {self.token}"), *seen]

    def __call__(self, method, request, after=(), timeout=10.0):
        return method(request, metadata=self.metadata(after), timeout=timeout)


class Suite:
    """The services. Each has its own data folder, port, token and log under one temporary folder."""

    def __init__(self, binaries):
        self.binaries = binaries.resolve()
        missing = [binary for binary in BINARIES.values() if not (self.binaries / binary).exists()]
        assert not missing, f"{missing} not in {self.binaries}: build them with `cargo build --release --workspace`"
        self.issuer = Issuer()
        self.processes = {}

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="otklik-interop-")
        self.root = pathlib.Path(self.folder.name)
        keys = self.root / "keys.pem"
        keys.write_bytes(self.issuer.public_pem())
        ports = dict(zip(BINARIES, free_ports(len(BINARIES))))
        self.shared = {
            "OTKLIK_AUTH_JWT_KEYS": str(keys),
            "OTKLIK_AUTH_JWT_ISSUER": ISSUER,
            "OTKLIK_AUTH_JWT_AUDIENCE": AUDIENCE,
        }
        for name, port in ports.items():
            self.shared[f"OTKLIK_PEERS_{name.upper()}"] = f"http://127.0.0.1:{port}"
        try:
            for name, port in ports.items():
                self.start(name, port)
            self.connect(ports)
            for name in BINARIES:
                wait_for(f"{name} to serve", lambda: self.is_serving(name))
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, name, port):
        token = self.root / f"{name}.token"
        token.write_text(self.issuer.token(f"service:{name}", ["service"]))
        data = self.root / name
        data.mkdir()
        own = {
            "OTKLIK_LISTEN": f"127.0.0.1:{port}",
            "OTKLIK_DATA_DIR": str(data),
            "OTKLIK_CLIENT_TOKEN_FILE": str(token),
        }
        with open(self.log(name), "wb") as log:
            self.processes[name] = subprocess.Popen(
                [self.binaries / BINARIES[name], "serve"],
                env=clean_environment() | self.shared | own,
                cwd=data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def connect(self, ports):
        # What the contracts ship for foreign clients: deadlines, retries, waiting for a service that starts.
        proto = pathlib.Path(__file__).resolve().parents[2] / "proto"
        config = json.dumps(json.loads((proto / "service-config.json").read_text()))
        options = [("grpc.service_config", config)]
        self.channels = {
            name: grpc.insecure_channel(f"127.0.0.1:{port}", options=options) for name, port in ports.items()
        }
        self.intake = intake_service_pb2_grpc.IntakeServiceStub(self.channels["intake"])
        self.classification = classification_service_pb2_grpc.ClassificationServiceStub(self.channels["classification"])
        self.assignment = assignment_service_pb2_grpc.AssignmentServiceStub(self.channels["assignment"])
        self.feedback = feedback_service_pb2_grpc.FeedbackServiceStub(self.channels["feedback"])
        self.audit = audit_service_pb2_grpc.AuditServiceStub(self.channels["audit"])
        self.ledgers = {name: ledger_service_pb2_grpc.LedgerServiceStub(self.channels[name]) for name in LEDGERS}

    def is_serving(self, name):
        code = self.processes[name].poll()
        assert code is None, f"{name} has ended with {code}:\n{self.log(name).read_text()}"
        try:
            answer = self.health(name).Check(health_pb2.HealthCheckRequest(), timeout=2)
        except grpc.RpcError:
            return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def health(self, name):
        return health_pb2_grpc.HealthStub(self.channels[name])

    def log(self, name):
        return self.root / f"{name}.log"

    def run(self, name, *arguments, **variables):
        """Runs a command of a service's binary to its end."""
        return subprocess.run(
            [self.binaries / BINARIES[name], *arguments],
            env=clean_environment() | variables,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def __exit__(self, *exception):
        for channel in getattr(self, "channels", {}).values():
            channel.close()
        for name, process in self.processes.items():
            if process.poll() is None:
                process.kill()
                process.wait()
        if any(exception):
            for name in self.processes:
                print(f"--- {name}:\n{self.log(name).read_text()[-4000:]}")
        self.folder.cleanup()


def clean_environment():
    """This process's environment without what configures services or telemetry."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("OTKLIK_", "OTEL_"))}


def free_ports(count):
    """Ports that nobody uses and that the system does not hand out by itself."""
    ports = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
    return ports
