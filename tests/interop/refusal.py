"""What a refused call tells, by google.rpc's rich error model."""

import contextlib
import re

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


class Refusal:
    """One refused call: its code and every detail of its status."""

    def __init__(self, error):
        self.code = error.code()
        self.message = error.details()
        status = rpc_status.from_call(error)
        assert status is not None, f"{self.code}: {self.message}: carries no details"
        self.details = status.details
        infos = self.all(error_details_pb2.ErrorInfo)
        assert len(infos) == 1, f"{self.code}: {self.message}: has {len(infos)} ErrorInfo"
        self.info = infos[0]
        assert self.info.domain == "otklik", self.info
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", self.info.reason), self.info

    @property
    def reason(self):
        return self.info.reason

    def all(self, kind):
        found = []
        for detail in self.details:
            if detail.Is(kind.DESCRIPTOR):
                found.append(kind())
                detail.Unpack(found[-1])
        return found

    def one(self, kind):
        found = self.all(kind)
        assert len(found) == 1, f"{self.code}: {self.message}: has {len(found)} {kind.DESCRIPTOR.name}"
        return found[0]

    def fields(self):
        """Paths of the fields that are wrong."""
        return {violation.field for violation in self.one(error_details_pb2.BadRequest).field_violations}


class _Caught:
    refusal = None

    def __getattr__(self, name):
        assert self.refusal is not None, "the call has not ended yet"
        return getattr(self.refusal, name)


@contextlib.contextmanager
def refused(code):
    """The calls within are refused with this code, and with rich details."""
    caught = _Caught()
    try:
        yield caught
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()}: {error.details()}"
        caught.refusal = Refusal(error)
    else:
        raise AssertionError(f"the call was not refused with {code}")
