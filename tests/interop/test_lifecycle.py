"""One message from its submission to the end of its case, and the proof of it."""

import hashlib
import json
import struct
import uuid

import pytest
from google.rpc import error_details_pb2
from grpc import RpcError, StatusCode

from messages import AUTHOR, DISPLAY_NAME, TEXT, register, request_id, submission
from otklik.assignment.v1 import assignment_service_pb2, case_pb2
from otklik.audit.v1 import audit_service_pb2, lifecycle_pb2
from otklik.classification.v1 import classification_pb2, classification_service_pb2
from otklik.feedback.v1 import answer_pb2, feedback_service_pb2
from otklik.intake.v1 import intake_service_pb2, message_pb2, submission_pb2
from otklik.ledger.v1 import ledger_pb2, ledger_service_pb2
from refusal import refused
from suite import LEDGERS, Person, wait_for

SOURCE = "interop-life"
ANSWER = "Контейнеры у дома 10 по улице Светланской вывезены сегодня, график вывоза восстановлен."

#: What must have happened, each once.
STEPS = [
    "otklik.intake.v1.MessageReceived",
    "otklik.classification.v1.MessageClassified",
    "otklik.assignment.v1.CaseOpened",
    "otklik.assignment.v1.CaseAssigned",
    "otklik.assignment.v1.CaseAccepted",
    "otklik.assignment.v1.WorkStarted",
    "otklik.feedback.v1.AnswerDrafted",
    "otklik.feedback.v1.AnswerApproved",
    "otklik.feedback.v1.AnswerPublished",
    "otklik.assignment.v1.CaseResolved",
    "otklik.feedback.v1.AnswerDelivered",
    "otklik.feedback.v1.RatingRecorded",
    "otklik.assignment.v1.CaseClosed",
]


@pytest.fixture(scope="module")
def message_id(suite, people):
    """A message whose case is closed."""
    register(suite, people, SOURCE)
    submitted = people["gateway"](suite.intake.SubmitMessage, submission(SOURCE, "wall-1"))
    assert submitted.disposition == submission_pb2.DISPOSITION_NEW
    assert submitted.state == message_pb2.MESSAGE_STATE_RECEIVED
    assert uuid.UUID(submitted.message_id).version == 7

    classification = people["moderator"](
        suite.classification.GetClassification,
        classification_service_pb2.GetClassificationRequest(message_id=submitted.message_id),
        after=[("intake", submitted.position)],
    ).classification
    assert classification.state == classification_pb2.CLASSIFICATION_STATE_CLASSIFIED, classification
    assert [question.topic_group for question in classification.questions] == ["waste"]
    assert classification.questions[0].place_ids, "the text names a place"

    case = the_case_of(suite, people, submitted.message_id)
    assert case.state == case_pb2.CASE_STATE_ASSIGNED
    assert case.topic_group == "waste" and case.executor_id and case.rule_id and not case.fallback
    assert [member.message_id for member in case.members] == [submitted.message_id]
    due = {deadline.kind: deadline for deadline in case.deadlines}
    assert case_pb2.DEADLINE_KIND_FIRST_RESPONSE in due and case_pb2.DEADLINE_KIND_RESOLUTION in due
    for deadline in case.deadlines:
        assert deadline.policy_version and deadline.calendar_version
        assert deadline.due_time.ToNanoseconds() > deadline.start_time.ToNanoseconds()

    work(suite, people, case)
    answer = answer_it(suite, people, case)
    rate(suite, people, case, answer, submitted.message_id)
    return submitted.message_id


def the_case_of(suite, people, message_id):
    listing = assignment_service_pb2.ListCasesRequest(
        filter=assignment_service_pb2.ListCasesFilter(message_id=message_id)
    )
    cases = wait_for("the case", lambda: people["coordinator"](suite.assignment.ListCases, listing).cases)
    assert len(cases) == 1, cases
    return cases[0]


def work(suite, people, case):
    accept = assignment_service_pb2.AcceptCaseRequest(request_id=request_id(), case_id=case.case_id, etag=case.etag)
    accepted = people["executor"](suite.assignment.AcceptCase, accept)
    assert accepted.case.state == case_pb2.CASE_STATE_ACCEPTED
    assert accepted.case.etag != case.etag
    # The same call again is the same answer, not a second acceptance.
    again = people["executor"](suite.assignment.AcceptCase, accept)
    assert again.case.case_id == case.case_id and again.position == accepted.position

    start = assignment_service_pb2.StartWorkRequest(
        request_id=request_id(), case_id=case.case_id, etag=accepted.case.etag
    )
    started = people["executor"](suite.assignment.StartWork, start)
    assert started.case.state == case_pb2.CASE_STATE_IN_PROGRESS
    assert case_pb2.CASE_ACTION_DRAFT_ANSWER in started.case.allowed_actions
    case.CopyFrom(started.case)
    case_position[case.case_id] = started.position


#: Where assignment recorded a case's last change.
case_position = {}


def answer_it(suite, people, case):
    draft = feedback_service_pb2.DraftAnswerRequest(
        request_id=request_id(),
        case_id=case.case_id,
        kind=answer_pb2.ANSWER_KIND_FINAL,
        text=ANSWER,
        outcome=case_pb2.OUTCOME_DONE,
        proof_urls=["https://photo.example/svetlanskaya-10.jpg"],
    )
    # Feedback is asked for its answer only once it has seen that work has begun.
    both = Person(suite.issuer, "user:two-hats", ["executor", "approver"])
    drafted = both(suite.feedback.DraftAnswer, draft, after=[("assignment", case_position[case.case_id])])
    answer = drafted.answer
    assert answer.state == answer_pb2.ANSWER_STATE_DRAFTED and answer.drafted_by == both.subject

    approve = feedback_service_pb2.ApproveAnswerRequest(request_id=request_id(), answer_id=answer.answer_id)
    with refused(StatusCode.FAILED_PRECONDITION) as refusal:
        both(suite.feedback.ApproveAnswer, approve)
    assert refusal.reason == "FOUR_EYES"

    publish = feedback_service_pb2.PublishAnswerRequest(request_id=request_id(), answer_id=answer.answer_id)
    with refused(StatusCode.FAILED_PRECONDITION) as refusal:
        people["executor"](suite.feedback.PublishAnswer, publish)
    assert refusal.reason == "ANSWER_STATE_FORBIDS"
    assert refusal.one(error_details_pb2.PreconditionFailure).violations

    approve.etag = answer.etag
    approve.request_id = request_id()
    approved = people["approver"](suite.feedback.ApproveAnswer, approve)
    assert approved.answer.state == answer_pb2.ANSWER_STATE_APPROVED
    assert approved.answer.approved_by == people["approver"].subject

    publish.request_id = request_id()
    published = people["executor"](suite.feedback.PublishAnswer, publish)
    assert published.answer.state == answer_pb2.ANSWER_STATE_PUBLISHED
    assert list(published.answer.message_ids) == [member.message_id for member in case.members]
    return published.answer


def rate(suite, people, case, answer, message_id):
    listing = feedback_service_pb2.ListDeliveriesRequest(
        filter=feedback_service_pb2.ListDeliveriesFilter(answer_id=answer.answer_id)
    )

    def delivered():
        deliveries = people["observer"](suite.feedback.ListDeliveries, listing).deliveries
        assert len(deliveries) == 1, deliveries
        return deliveries[0].state == answer_pb2.DELIVERY_STATE_DELIVERED and deliveries[0]

    delivery = wait_for("the delivery", delivered)
    assert delivery.message_id == message_id

    lines = [line for file in (suite.root / "channel").rglob("*.ndjson") for line in file.read_text().splitlines()]
    arrived = [json.loads(line) for line in lines if delivery.delivery_id in line]
    assert len(arrived) == 1, lines
    assert ANSWER in arrived[0].values() and "wall-1" in arrived[0].values(), arrived

    rating = feedback_service_pb2.RecordRatingRequest(
        request_id=request_id(),
        case_id=case.case_id,
        message_id=message_id,
        score=5,
        satisfied=True,
        comment="Спасибо, убрали!",
    )
    people["gateway"](suite.feedback.RecordRating, rating)

    def closed():
        request = assignment_service_pb2.GetCaseRequest(case_id=case.case_id)
        now = people["observer"](suite.assignment.GetCase, request).case
        return now.state == case_pb2.CASE_STATE_CLOSED_CONFIRMED and now

    end = wait_for("the case to be closed", closed)
    assert end.outcome == case_pb2.OUTCOME_DONE and end.answer_id == answer.answer_id
    assert all(deadline.HasField("meet_time") for deadline in end.deadlines)


def lifecycle_of(suite, people, **subject):
    """The lifecycle as audit knows it by now; None before it knows anything."""
    try:
        return people["auditor"](suite.audit.GetLifecycle, audit_service_pb2.GetLifecycleRequest(**subject)).lifecycle
    except RpcError as error:
        assert error.code() == StatusCode.NOT_FOUND, error
        return None


def test_the_whole_life_can_be_read_back(suite, people, message_id):
    def whole():
        life = lifecycle_of(suite, people, message_id=message_id)
        return life and life.complete and "otklik.assignment.v1.CaseClosed" in [step.type for step in life.steps] and life

    life = wait_for("the lifecycle to be complete", whole)
    assert life.subject_kind == lifecycle_pb2.SUBJECT_KIND_MESSAGE and life.subject_id == message_id
    assert life.state == "RATED"
    assert life.verified and not life.problems
    assert life.trace_id == message_id.replace("-", ""), "a message's id is its trace id"
    assert len(life.case_ids) == 1

    types = [step.type for step in life.steps]
    assert {type: types.count(type) for type in STEPS} == {type: 1 for type in STEPS}
    before = set()
    for step in life.steps:
        assert not step.cause_entry_id or step.cause_entry_id in before, f"{step.type} comes before its cause"
        assert step.position.hash and step.actor.subject and len(step.span_id) == 16
        before.add(step.entry_id)
    actors = {step.type: (step.actor.subject, step.actor.role) for step in life.steps}
    assert actors["otklik.assignment.v1.CaseAssigned"] == ("service:assignment", "SERVICE")
    assert actors["otklik.assignment.v1.CaseAccepted"] == (people["executor"].subject, "EXECUTOR")
    assert actors["otklik.feedback.v1.AnswerApproved"] == (people["approver"].subject, "APPROVER")
    assert actors["otklik.feedback.v1.RatingRecorded"] == (people["gateway"].subject, "GATEWAY")

    of_case = lifecycle_of(suite, people, case_id=life.case_ids[0])
    assert of_case.state == "CLOSED_CONFIRMED" and of_case.complete and of_case.verified
    assert list(of_case.message_ids) == [message_id]


def test_all_ledgers_verify(suite, people, message_id):
    def whole():
        answer = people["auditor"](suite.audit.VerifyLedgers, audit_service_pb2.VerifyLedgersRequest())
        assert answer.intact, answer
        results = {result.service: result for result in answer.verifications}
        # Audit follows the others; of its own ledger it need not keep a copy.
        return all(results[name].verified_seq == results[name].head_seq for name in LEDGERS if name != "audit") and results

    results = wait_for("all ledgers to be copied and verified", whole)
    assert results["intake"].verified_seq >= 1


def test_a_stranger_recomputes_every_hash_and_finds_nothing_personal(suite, people, message_id):
    personal = [text.encode() for text in (TEXT, ANSWER, AUTHOR, DISPLAY_NAME, "Светланская", "Спасибо, убрали!")]
    for name in LEDGERS:
        entries = read_ledger(suite.ledgers[name], people["auditor"])
        previous = {}
        for entry in entries:
            position = entry.position
            last = previous.setdefault(position.partition, (0, bytes(32)))
            assert (position.seq, entry.previous_hash) == (last[0] + 1, last[1]), f"{name}: {position}"
            assert hash_of(entry) == position.hash, f"{name}: {position}"
            previous[position.partition] = (position.seq, position.hash)
            stored = entry.header + entry.payload
            assert not [text for text in personal if text in stored], f"{name}: {entry.type} holds personal data"
        assert entries or name == "audit", f"{name} has recorded nothing"
        log = suite.log(name).read_bytes()
        assert not [text for text in personal if text in log], f"the log of {name} holds personal data"


def read_ledger(stub, person):
    heads = {head.partition: head.seq for head in person(stub.GetHeads, ledger_service_pb2.GetHeadsRequest()).heads}
    reached = {partition: 0 for partition in heads}
    entries = []
    stream = person(stub.StreamEntries, ledger_service_pb2.StreamEntriesRequest())
    while any(reached[partition] < seq for partition, seq in heads.items()):
        response = next(stream)
        entries.extend(response.entries)
        for position in response.scanned:
            reached[position.partition] = position.seq
    stream.cancel()
    return entries


def hash_of(entry):
    """The hash that the contract describes."""
    position = entry.position
    content = b"otklik.ledger.v1\0" + uuid.UUID(position.incarnation).bytes
    content += struct.pack(">IQ", position.partition, position.seq) + entry.previous_hash
    for part in (entry.header, entry.type.encode(), entry.payload):
        content += struct.pack(">I", len(part)) + part
    return hashlib.sha256(content).digest()


def test_edits_repeats_and_withdrawals_are_recognised(suite, people):
    register(suite, people, "interop-edits")

    def submit(external_id, revision, text=TEXT):
        request = submission("interop-edits", external_id, source_revision=revision, text=text)
        return people["gateway"](suite.intake.SubmitMessage, request)

    def withdraw(external_id, revision):
        item = message_pb2.ItemKey(source_id="interop-edits", external_id=external_id)
        request = submission_pb2.WithdrawMessageRequest(
            item=item, source_revision=revision, reason=submission_pb2.WITHDRAW_REASON_DELETED_BY_AUTHOR
        )
        return people["gateway"](suite.intake.WithdrawMessage, request)

    first = submit("a", 2)
    assert submit("a", 2).disposition == submission_pb2.DISPOSITION_REPEAT
    assert submit("a", 1).disposition == submission_pb2.DISPOSITION_STALE_REPEAT
    edit = submit("a", 3, TEXT + " И запах.")
    assert edit.disposition == submission_pb2.DISPOSITION_REVISED
    assert (edit.message_id, edit.version) == (first.message_id, 2)
    assert withdraw("a", 4).disposition == submission_pb2.WITHDRAW_DISPOSITION_WITHDRAWN
    assert withdraw("a", 4).disposition == submission_pb2.WITHDRAW_DISPOSITION_REPEAT

    assert withdraw("b", 5).disposition == submission_pb2.WITHDRAW_DISPOSITION_TOMBSTONED
    late = submit("b", 1)
    assert late.disposition == submission_pb2.DISPOSITION_TOMBSTONED
    assert late.state == message_pb2.MESSAGE_STATE_WITHDRAWN

    reference = intake_service_pb2.MessageReference(message_id=first.message_id)
    texts = people["moderator"](
        suite.intake.BatchGetMessages, intake_service_pb2.BatchGetMessagesRequest(references=[reference])
    )
    assert [message.status for message in texts.messages] == [intake_service_pb2.TEXT_STATUS_WITHDRAWN]
    assert not texts.messages[0].text


def test_a_stream_of_submissions_has_a_result_for_each_item(suite, people):
    register(suite, people, "interop-stream")
    items = [
        submission_pb2.SubmitMessagesRequest(index=index, message=submission("interop-stream", f"item-{index}"))
        for index in range(50)
    ]
    items[7].message.text = ""
    items[7].message.channel_kind = message_pb2.CHANNEL_KIND_UNSPECIFIED
    items[8].message.CopyFrom(items[9].message)

    results = {result.index: result for result in people["gateway"](suite.intake.SubmitMessages, iter(items))}
    assert set(results) == set(range(50))
    bad = results.pop(7)
    assert bad.WhichOneof("result") == "error" and bad.error.code == StatusCode.INVALID_ARGUMENT.value[0]
    assert {violation.field for violation in bad.error.field_violations} == {"text", "channel_kind"}
    assert all(result.WhichOneof("result") == "response" for result in results.values())
    assert results[8].response.message_id == results[9].response.message_id
    assert len({result.response.message_id for result in results.values()}) == 48


def test_an_author_can_be_forgotten(suite, people):
    register(suite, people, "interop-erase")
    author = submission_pb2.Author(external_id="forget-me", display_name="Имя Забытое")
    submitted = people["gateway"](suite.intake.SubmitMessage, submission("interop-erase", "x", author=author))
    erase = intake_service_pb2.EraseAuthorRequest(
        request_id=request_id(),
        reference=intake_service_pb2.AuthorReference(source_id="interop-erase", author_external_id="forget-me"),
        reason=intake_service_pb2.ERASE_REASON_AUTHOR_REQUEST,
    )
    erased = people["administrator"](suite.intake.EraseAuthor, erase)
    assert erased.erased_message_count == 1 and erased.author_key and "forget-me" not in erased.author_key
    message = people["moderator"](
        suite.intake.GetMessage, intake_service_pb2.GetMessageRequest(message_id=submitted.message_id)
    ).message
    assert message.state == message_pb2.MESSAGE_STATE_ERASED
    assert not any(version.text for version in message.versions)

    def complied():
        life = lifecycle_of(suite, people, message_id=submitted.message_id)
        return life and "otklik.feedback.v1.ErasureComplied" in [step.type for step in life.steps]

    # Whoever may hold derived text records that it has complied, even if it held none.
    wait_for("feedback to comply", complied)
