"""Requests as a gateway makes them."""

import uuid

from google.protobuf import timestamp_pb2

from otklik.intake.v1 import intake_service_pb2, message_pb2, source_pb2, submission_pb2

TEXT = "Вторую неделю не вывозят мусор, контейнеры переполнены. Владивосток, улица Светланская, 10."
AUTHOR = "author-7f3a91"
DISPLAY_NAME = "Мария Береговая"


def request_id():
    return str(uuid.uuid4())


def submission(source_id, external_id, **fields):
    """A message about rubbish in Vladivostok, by an author of name."""
    ordinary = {
        "source_revision": 1,
        "text": TEXT,
        "author": submission_pb2.Author(external_id=AUTHOR, display_name=DISPLAY_NAME),
        "channel_kind": message_pb2.CHANNEL_KIND_COMMENT,
        "published_time": timestamp_pb2.Timestamp(seconds=1_605_700_000),
    }
    return submission_pb2.SubmitMessageRequest(source_id=source_id, external_id=external_id, **(ordinary | fields))


def source(source_id, **fields):
    ordinary = {
        "kind": source_pb2.SOURCE_KIND_PAGE,
        "title": "Страница для испытаний",
        "regime": source_pb2.REGIME_OPEN_SOURCE_MESSAGE,
    }
    return source_pb2.Source(source_id=source_id, **(ordinary | fields))


def register(suite, people, source_id):
    """Registers a source of the test's own, so that nobody else's messages are in it."""
    request = intake_service_pb2.RegisterSourceRequest(request_id=request_id(), source=source(source_id))
    return people["administrator"](suite.intake.RegisterSource, request)
