"""What a foreign client is told when something is wrong, and that nothing of it is kept."""

import datetime

import grpc
import jwt
import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from messages import TEXT, register, request_id, source, submission
from otklik.assignment.v1 import assignment_service_pb2, case_pb2
from otklik.audit.v1 import audit_service_pb2
from otklik.classification.v1 import classification_service_pb2
from otklik.feedback.v1 import feedback_service_pb2
from otklik.intake.v1 import intake_service_pb2, message_pb2, submission_pb2
from otklik.ledger.v1 import ledger_service_pb2
from refusal import refused
from suite import AUDIENCE, ISSUER, Issuer, Person, wait_for

SOURCE = "interop-refusals"
NOBODY = "01930000-0000-7000-8000-000000000000"


@pytest.fixture(scope="module", autouse=True)
def nothing_is_kept(suite, people):
    """Every submission of this module to its source is refused, so at the end there is no message of it."""
    register(suite, people, SOURCE)
    yield
    listing = intake_service_pb2.ListMessagesRequest(filter=intake_service_pb2.ListMessagesFilter(source_id=SOURCE))
    assert not people["moderator"](suite.intake.ListMessages, listing).messages


def test_without_a_good_token_nobody_is_let_in(suite):
    request = submission(SOURCE, "x")
    gone = datetime.timedelta(hours=-1)
    good = suite.issuer.token("user:x", ["gateway"])
    bad = {
        "none": None,
        "no bearer": f"Basic {good}",
        "garbage": "Bearer garbage",
        "altered": f"Bearer {good[:-6]}AAAAAA",
        "expired": f"Bearer {suite.issuer.token('user:x', ['gateway'], lifetime=gone)}",
        "of another issuer": f"Bearer {suite.issuer.token('user:x', ['gateway'], iss='https://else.example')}",
        "for another audience": f"Bearer {suite.issuer.token('user:x', ['gateway'], aud='else')}",
        "signed by a stranger": f"Bearer {Issuer().token('user:x', ['gateway'])}",
        "unsigned": f"Bearer {unsigned()}",
        "of no service": f"Bearer {suite.issuer.token('service:intake', ['gateway'])}",
    }
    for what, header in bad.items():
        metadata = [("authorization", header)] if header else []
        with refused(StatusCode.UNAUTHENTICATED) as refusal:
            suite.intake.SubmitMessage(request, metadata=metadata, timeout=5)
        assert refusal.reason == "UNAUTHENTICATED", what
        assert good not in refusal.message
    with refused(StatusCode.UNAUTHENTICATED):
        chosen = ("otklik-act-as", "user:x;gateway")
        suite.intake.SubmitMessage(request, metadata=[("authorization", f"Bearer {good}"), chosen], timeout=5)


def unsigned():
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
    claims = {"sub": "user:x", "roles": ["gateway"], "iss": ISSUER, "aud": AUDIENCE, "exp": later}
    return jwt.encode(claims, None, algorithm="none")


def test_a_wrong_role_is_denied_by_the_permission_it_lacks(suite, people):
    with refused(StatusCode.PERMISSION_DENIED) as refusal:
        people["observer"](suite.intake.SubmitMessage, submission(SOURCE, "x"))
    assert refusal.reason == "PERMISSION_DENIED"
    assert refusal.info.metadata["permission"] == "intake.messages.submit"
    assert refusal.one(error_details_pb2.LocalizedMessage).locale.startswith("ru")

    roleless = Person(suite.issuer, "user:nobody", ["king"])
    with refused(StatusCode.PERMISSION_DENIED):
        roleless(suite.assignment.ListCases, assignment_service_pb2.ListCasesRequest())
    with refused(StatusCode.PERMISSION_DENIED):
        request = ledger_service_pb2.StreamEntriesRequest()
        next(people["executor"](suite.ledgers["intake"].StreamEntries, request))


def test_all_that_is_wrong_is_told_at_once(suite, people):
    request = submission_pb2.SubmitMessageRequest(
        source_id=SOURCE,
        external_id="e" * 257,
        url="u" * 10,
        attachment_urls=["https://file.example/a"] * 21,
        location=message_pb2.Location(latitude=91, longitude=-181),
    )
    with refused(StatusCode.INVALID_ARGUMENT) as refusal:
        people["gateway"](suite.intake.SubmitMessage, request)
    assert refusal.reason == "INVALID_FIELDS"
    wrong = refusal.fields()
    assert {"external_id", "text", "channel_kind", "published_time", "attachment_urls"} <= wrong, wrong
    for message in ("author", "location"):
        assert any(field.split(".")[0] == message for field in wrong), wrong

    with refused(StatusCode.INVALID_ARGUMENT) as refusal:
        people["gateway"](suite.intake.SubmitMessage, submission(SOURCE, "x", text="я" * 16385))
    assert refusal.fields() == {"text"}
    assert "я" not in refusal.message


def test_what_is_not_there_is_named(suite, people):
    unknown = [
        ("executor", suite.assignment.GetCase, assignment_service_pb2.GetCaseRequest(case_id=NOBODY), "CASE_NOT_FOUND"),
        (
            "moderator",
            suite.classification.GetClassification,
            classification_service_pb2.GetClassificationRequest(message_id=NOBODY),
            "CLASSIFICATION_NOT_FOUND",
        ),
        ("moderator", suite.feedback.GetAnswer, feedback_service_pb2.GetAnswerRequest(answer_id=NOBODY), "ANSWER_NOT_FOUND"),
        ("moderator", suite.intake.GetMessage, intake_service_pb2.GetMessageRequest(message_id=NOBODY), "MESSAGE_NOT_FOUND"),
        ("moderator", suite.intake.GetSource, intake_service_pb2.GetSourceRequest(source_id="nowhere"), "SOURCE_NOT_FOUND"),
        ("auditor", suite.audit.GetLifecycle, audit_service_pb2.GetLifecycleRequest(message_id=NOBODY), "LIFECYCLE_NOT_FOUND"),
        ("gateway", suite.intake.SubmitMessage, submission("nowhere", "x"), "SOURCE_NOT_FOUND"),
        (
            "executor",
            suite.assignment.AcceptCase,
            assignment_service_pb2.AcceptCaseRequest(request_id=request_id(), case_id=NOBODY),
            "CASE_NOT_FOUND",
        ),
    ]
    for role, method, request, reason in unknown:
        with refused(StatusCode.NOT_FOUND) as refusal:
            people[role](method, request)
        assert refusal.reason == reason
        assert refusal.one(error_details_pb2.ResourceInfo).resource_type


def test_pages_are_checked(suite, people):
    listings = [
        ("moderator", suite.intake.ListMessages, intake_service_pb2.ListMessagesRequest),
        ("moderator", suite.intake.ListSources, intake_service_pb2.ListSourcesRequest),
        ("moderator", suite.classification.ListReviewQueue, classification_service_pb2.ListReviewQueueRequest),
        ("moderator", suite.assignment.ListCases, assignment_service_pb2.ListCasesRequest),
        ("moderator", suite.assignment.ListExecutors, assignment_service_pb2.ListExecutorsRequest),
        ("moderator", suite.feedback.ListAnswers, feedback_service_pb2.ListAnswersRequest),
        ("moderator", suite.feedback.ListDeliveries, feedback_service_pb2.ListDeliveriesRequest),
        ("moderator", suite.feedback.ListRatings, feedback_service_pb2.ListRatingsRequest),
        ("auditor", suite.audit.ListStuck, audit_service_pb2.ListStuckRequest),
        ("auditor", suite.ledgers["audit"].ListParked, ledger_service_pb2.ListParkedRequest),
    ]
    pages = assignment_service_pb2.ListExecutorsRequest(page_size=1)
    first = people["moderator"](suite.assignment.ListExecutors, pages)
    assert len(first.executors) == 1 and first.next_page_token
    for role, method, request in listings:
        people[role](method, request(page_size=2_000_000_000))
        with refused(StatusCode.INVALID_ARGUMENT) as refusal:
            people[role](method, request(page_size=-1))
        assert refusal.fields() == {"page_size"}
        for token in ("garbage", first.next_page_token):
            # Of its own list the token is good; that is looked at below.
            if token == first.next_page_token and request is assignment_service_pb2.ListExecutorsRequest:
                continue
            with refused(StatusCode.INVALID_ARGUMENT) as refusal:
                people[role](method, request(page_token=token))
            assert refusal.fields() == {"page_token"}

    pages.page_token = first.next_page_token
    second = people["moderator"](suite.assignment.ListExecutors, pages)
    assert second.executors[0].executor_id > first.executors[0].executor_id
    pages.filter.kinds.append(case_pb2.EXECUTOR_KIND_MINISTRY)
    with refused(StatusCode.INVALID_ARGUMENT) as refusal:
        people["moderator"](suite.assignment.ListExecutors, pages)
    assert refusal.fields() == {"page_token"}


def test_a_request_id_means_one_body(suite, people):
    request = intake_service_pb2.RegisterSourceRequest(request_id=request_id(), source=source("interop-once"))
    first = people["administrator"](suite.intake.RegisterSource, request)
    again = people["administrator"](suite.intake.RegisterSource, request)
    assert again.position == first.position and again.source.source_id == first.source.source_id

    request.source.title = "Другая страница"
    with refused(StatusCode.ABORTED) as refusal:
        people["administrator"](suite.intake.RegisterSource, request)
    assert refusal.reason == "REQUEST_ID_REUSED"
    read = intake_service_pb2.GetSourceRequest(source_id="interop-once")
    assert people["administrator"](suite.intake.GetSource, read).source.title == first.source.title

    # It is the caller's own: somebody else may use the same one.
    other = Person(suite.issuer, "user:administrator-2", ["administrator"])
    assert other(suite.intake.RegisterSource, request).source.title == "Другая страница"

    request.request_id = ""
    request.source.kind = 0
    with refused(StatusCode.INVALID_ARGUMENT) as refusal:
        people["administrator"](suite.intake.RegisterSource, request)
    assert "request_id" in refusal.fields() and any(field.endswith("kind") for field in refusal.fields())


def test_a_state_that_forbids_is_named(suite, people):
    register(suite, people, "interop-states")
    message_id = people["gateway"](suite.intake.SubmitMessage, submission("interop-states", "x")).message_id
    listing = assignment_service_pb2.ListCasesRequest(
        filter=assignment_service_pb2.ListCasesFilter(message_id=message_id)
    )
    case = wait_for("the case", lambda: people["executor"](suite.assignment.ListCases, listing).cases)[0]

    start = assignment_service_pb2.StartWorkRequest(request_id=request_id(), case_id=case.case_id)
    with refused(StatusCode.FAILED_PRECONDITION) as refusal:
        people["executor"](suite.assignment.StartWork, start)
    assert refusal.reason == "CASE_STATE_FORBIDS"
    violation = refusal.one(error_details_pb2.PreconditionFailure).violations[0]
    assert case.case_id in violation.subject
    assert "ASSIGNED" in violation.description and "ACCEPT" in violation.description.upper(), violation
    localized = refusal.one(error_details_pb2.LocalizedMessage)
    assert localized.locale.startswith("ru") and localized.message

    accept = assignment_service_pb2.AcceptCaseRequest(request_id=request_id(), case_id=case.case_id, etag="older")
    with refused(StatusCode.ABORTED) as refusal:
        people["executor"](suite.assignment.AcceptCase, accept)
    assert refusal.reason == "ETAG_MISMATCH"

    read = assignment_service_pb2.GetCaseRequest(case_id=case.case_id)
    now = people["executor"](suite.assignment.GetCase, read).case
    assert (now.state, now.etag) == (case_pb2.CASE_STATE_ASSIGNED, case.etag), "what is refused changes nothing"


def raw_call(suite, path):
    """A method that takes any bytes for a request."""
    return suite.channels["intake"].unary_unary(
        path, request_serializer=lambda body: body, response_deserializer=lambda body: body
    )


SUBMIT = "/otklik.intake.v1.IntakeService/SubmitMessage"


def test_what_is_no_message_is_refused(suite, people):
    good = submission(SOURCE, "x").SerializeToString()
    text = TEXT.encode()
    assert text in good
    broken = {
        "invalid UTF-8": good.replace(text, b"\xff\xfe" + text[2:]),
        "half a character": good.replace(text, text[:-2] + b" \xd0"),
        "cut off": good[:-3],
        "garbage": b"\xff" * 40,
    }
    for what, body in broken.items():
        with refused(StatusCode.INVALID_ARGUMENT) as refusal:
            people["gateway"](raw_call(suite, SUBMIT), body)
        assert refusal.message, what


def test_what_is_too_large_is_refused(suite, people):
    with refused(StatusCode.RESOURCE_EXHAUSTED) as refusal:
        people["gateway"](suite.intake.SubmitMessage, submission(SOURCE, "x", text="a" * 10_000_000))
    assert refusal.reason == "MESSAGE_TOO_LARGE"
    # The connection is as good as before.
    listing = intake_service_pb2.ListSourcesRequest(page_size=1)
    assert people["gateway"](suite.intake.ListSources, listing).sources


def test_a_method_that_is_not_there_is_refused(suite, people):
    with pytest.raises(grpc.RpcError) as refusal:
        people["administrator"](raw_call(suite, "/otklik.intake.v1.IntakeService/Nothing"), b"")
    assert refusal.value.code() in (StatusCode.UNIMPLEMENTED, StatusCode.PERMISSION_DENIED)


def test_a_cursor_of_another_ledger_is_refused(suite, people):
    def head(name):
        return people["auditor"](suite.ledgers[name].GetHeads, ledger_service_pb2.GetHeadsRequest()).heads[0]

    foreign = head("intake")
    beyond = head("intake")
    beyond.seq += 1_000_000
    forged = head("intake")
    forged.hash = bytes(32)
    for name, position in (("classification", foreign), ("intake", beyond), ("intake", forged)):
        with refused(StatusCode.FAILED_PRECONDITION) as refusal:
            request = ledger_service_pb2.StreamEntriesRequest(after=[position])
            next(people["auditor"](suite.ledgers[name].StreamEntries, request))
        assert refusal.reason == "LEDGER_POSITION_MISMATCH"
