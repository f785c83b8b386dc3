"""An HTTP/2 connection on a transport without a socket: hits, content, refusals, timeouts, back-pressure, drain."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cdn.edge.certificate_cover import COVER, CertificateCover
from cdn.edge.h2_events import ErrorCode
from cdn.edge.h2_limits import H2Limits
from cdn.edge.limits import HttpLimits
from cdn.edge.prepared import JOINED_BYTES
from cdn.edge.response import Response, Unsent
from tests.edge.engine_application import TEXT, EchoApplication, Stream
from tests.edge.engine_transport import RecordingTransport
from tests.edge.h2_client import H2Client

LARGE = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def application() -> EchoApplication:
    application = EchoApplication()
    application.remember("/a", b"hello")
    application.remember("/large", b"x" * (JOINED_BYTES + 1))
    return application


@pytest.fixture
def client(application: EchoApplication) -> H2Client:
    return H2Client(application)


# -- hits --------------------------------------------------------------------------------------------------------------


async def test_all_that_one_read_brings_is_answered_in_one_write(client: H2Client) -> None:
    before = len(client.transport.writes)
    ids = [client.ask() for _ in range(10)]
    client.is_generous = False  # the write that acknowledges is not counted
    client.flush()
    assert len(client.transport.writes) == before + 1
    assert [client.streams[each].content for each in ids] == [b"hello"] * 10
    assert all(client.streams[each].is_whole for each in ids)
    counters = client.service.counters
    assert (counters.recalled, counters.memo_hits, counters.h2_streams) == (2, 8, 10)


async def test_who_differs_only_in_what_tells_nothing_is_answered_alike(
    application: EchoApplication, client: H2Client
) -> None:
    def of(number: int) -> list[tuple[str, str]]:
        return [("cookie", f"visit={number}"), ("user-agent", f"browser {number}"), ("referer", f"https://{number}/")]

    for number in range(5):
        assert client.get(fields=of(number)).content == b"hello"
    assert len(application.recalled) == 2, "what comes for the second time is remembered"
    for number in range(5):
        assert client.get(fields=of(number)).content == b"hello"
    assert len(application.recalled) == 2
    assert client.get(method="HEAD").content == b""
    assert client.get(fields=[("x-tells", "something")]).content == b"hello"
    assert len(application.recalled) == 4


async def test_what_is_remembered_is_not_sent_when_it_may_not_be(
    application: EchoApplication, client: H2Client
) -> None:
    for _ in range(3):
        client.get()
    assert client.service.counters.memo_hits == 1
    application.site.generation += 1
    assert (await client.exchange()).content.startswith(b"GET a.example /a")
    assert client.service.counters.memo_hits == 1


@pytest.mark.parametrize("path", ["/a", "/large"])
async def test_head_says_what_get_says_without_the_content(client: H2Client, path: str) -> None:
    got, headed = client.get(path), client.get(path, "HEAD")
    assert headed.fields == got.fields
    assert headed.content == b""
    assert headed.is_whole
    assert int(got.of("content-length") or 0) == len(got.content) > 0


async def test_what_is_not_usable_any_more_is_not_sent(application: EchoApplication, client: H2Client) -> None:
    assert client.get().content == b"hello"
    application.site.generation += 1
    assert (await client.exchange()).content.startswith(b"GET a.example /a")


async def test_beyond_its_lease_nothing_is_taken_from_memory(client: H2Client) -> None:
    client.service.serves_until = client.now
    assert (await client.exchange()).content.startswith(b"GET a.example /a")


async def test_a_hit_is_counted_and_kept_as_one(client: H2Client) -> None:
    client.get()
    counted = client.service.traffic.numbers()
    assert counted["requests HTTP/2 2 hit"] == 1
    assert counted["content_bytes HTTP/2"] == 5


# -- the application ---------------------------------------------------------------------------------------------------


async def test_content_comes_to_the_application_and_its_answer_back(client: H2Client) -> None:
    answer = await client.exchange("/echo?x=1", "POST", content=b"abc")
    assert (answer.status, answer.content) == (200, b"POST a.example /echo x=1 abc")
    assert answer.of("content-length") == str(len(answer.content))
    assert answer.of("date") is not None
    assert client.service.counters.answered == 1


async def test_windows_grow_as_the_application_reads(application: EchoApplication, client: H2Client) -> None:
    stream_id = client.ask("/echo", "POST", is_end=False)
    client.flush()
    content = LARGE[:300_000]
    sent = 0
    while sent < len(content):
        window_bytes = client.h2.local_flow_control_window(stream_id)
        assert window_bytes > 0
        part = content[sent : sent + min(window_bytes, client.h2.max_outbound_frame_size)]
        sent += len(part)
        client.h2.send_data(stream_id, part, end_stream=sent == len(content))
        client.flush()
        await client.settle()
    assert client.streams[stream_id].content.endswith(content)


async def test_who_does_not_read_lets_no_more_come_than_the_window(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    stream_id = client.ask("/echo", "POST", is_end=False)
    client.flush()
    await client.settle()
    window_bytes = client.h2.local_flow_control_window(stream_id)
    while window_bytes > 0:
        client.h2.send_data(stream_id, b"x" * min(16_384, window_bytes))
        client.flush()
        await client.settle()
        window_bytes = client.h2.local_flow_control_window(stream_id)
    assert client.h2.local_flow_control_window(stream_id) == 0
    application.gate.set()
    await client.settle()
    assert client.h2.local_flow_control_window(stream_id) > 0


@pytest.mark.parametrize(("announced", "sent"), [(3, b"abcd"), (5, b"abcd")])
async def test_content_of_another_length_than_announced_is_malformed(
    application: EchoApplication, announced: int, sent: bytes
) -> None:
    client = H2Client(application)
    stream_id = client.ask("/echo", "POST", is_end=False)  # hyper's h2 would not let us lie
    client.h2.streams[stream_id]._expected_content_length = None
    client.h2.reset_stream(stream_id)  # not sent
    client.connect()
    client.h2.config.validate_outbound_headers = False
    stream_id = client.ask("/echo", "POST", [("content-length", str(announced))], is_end=False)
    client.h2.send_data(stream_id, sent, end_stream=True)
    client.flush()
    await client.settle()
    assert client.streams[stream_id].reset == ErrorCode.PROTOCOL_ERROR
    assert application.answered == application.cancelled or not application.answered
    assert client.get().content == b"hello"


async def test_more_than_is_taken_is_refused(application: EchoApplication) -> None:
    client = H2Client(application, HttpLimits(max_content_bytes=1000))
    stream_id = client.ask("/echo", "POST", is_end=False)
    client.h2.send_data(stream_id, b"x" * 1001)
    client.flush()
    await client.settle()
    answer = client.streams[stream_id]
    assert answer.status == 413
    assert answer.reset == ErrorCode.NO_ERROR
    assert client.service.counters.refused == {"content-too-large": 1}


async def test_what_the_application_takes_less_of_is_refused_too(application: EchoApplication) -> None:
    application.max_content_bytes = 10
    answer = await H2Client(application).exchange("/echo", "POST", content=b"x" * 11)
    assert answer.status == 413


async def test_100_continue_is_said_when_the_content_is_wanted(client: H2Client) -> None:
    stream_id = client.ask("/echo", "POST", [("expect", "100-continue"), ("content-length", "3")], is_end=False)
    client.flush()
    await client.settle()
    assert [dict(each)[":status"] for each in client.streams[stream_id].interim] == ["100"]
    client.h2.send_data(stream_id, b"abc", end_stream=True)
    client.flush()
    await client.settle()
    assert client.streams[stream_id].content.endswith(b"abc")


async def test_content_that_nobody_wants_is_not_asked_for(client: H2Client) -> None:
    stream_id = client.ask("/unread", "POST", [("expect", "100-continue"), ("content-length", "3")], is_end=False)
    client.flush()
    await client.settle()
    answer = client.streams[stream_id]
    assert answer.interim == []
    assert (answer.status, answer.content, answer.reset) == (405, b"not read", ErrorCode.NO_ERROR)


async def test_a_little_content_that_nobody_reads_is_thrown_away(client: H2Client) -> None:
    stream_id = client.ask("/unread", "POST", [("content-length", "3")], is_end=False)
    client.flush()
    await client.settle()
    answer = client.streams[stream_id]
    assert (answer.status, answer.is_whole, answer.reset) == (405, True, None)
    client.h2.send_data(stream_id, b"abc", end_stream=True)
    client.flush()
    await client.settle()
    assert answer.reset is None
    assert client.connection._engine.is_idle


async def test_who_goes_on_sending_what_nobody_reads_is_stopped(client: H2Client) -> None:
    stream_id = client.ask("/unread", "POST", [("content-length", "9")], is_end=False)
    client.flush()
    await client.settle()
    client.pass_time(client.service.limits.linger_s)
    await client.settle()
    assert client.streams[stream_id].reset == ErrorCode.NO_ERROR
    assert client.get().content == b"hello"


async def test_who_sends_no_more_after_the_answer_resets_nothing(client: H2Client) -> None:
    stream_id = client.ask("/unread", "POST", [("content-length", "9")], is_end=False)
    client.flush()
    await client.settle()
    assert client.streams[stream_id].is_whole
    client.h2.reset_stream(stream_id, ErrorCode.NO_ERROR)
    client.flush()
    assert client.connection._unread == {}
    assert client.service.counters.h2_resets == 0


async def test_a_failure_is_a_500_and_the_connection_goes_on(
    client: H2Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = await client.exchange("/fails")
    assert answer.status == 500
    assert "no answer for GET a.example/fails" in caplog.text
    assert client.get().content == b"hello"


async def test_a_field_that_would_break_out_is_a_500(client: H2Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        answer = await client.exchange("/splits")
    assert answer.status == 500
    assert answer.of("set-cookie") is None


async def test_a_failed_recall_is_told_and_asked_of_the_application(
    application: EchoApplication, client: H2Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "recall", lambda request, now: 1 / 0)
    answer = await client.exchange()
    assert answer.status == 200
    assert "recall failed for a.example/a" in caplog.text


@pytest.mark.parametrize(("path", "status"), [("/nothing", 204), ("/same", 304)])
async def test_statuses_without_content_have_none(client: H2Client, path: str, status: int) -> None:
    answer = await client.exchange(path)
    assert (answer.status, answer.content, answer.is_whole) == (status, b"", True)
    assert answer.of("content-length") is None


async def test_interim_responses_come_before_the_final_one(application: EchoApplication) -> None:
    application.interim["/echo"] = [(103, (("link", "</a.css>; rel=preload"),)), (101, ())]
    answer = await H2Client(application).exchange("/echo")
    assert answer.interim == [[(":status", "103"), ("link", "</a.css>; rel=preload")]]
    assert answer.status == 200


async def test_who_resets_a_stream_cancels_its_answer(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    stream_id = client.ask("/echo")
    client.flush()
    await client.settle()
    client.h2.reset_stream(stream_id, ErrorCode.CANCEL)
    client.flush()
    await client.settle()
    assert application.cancelled == ["/echo"]
    assert client.service.counters.h2_resets == 1
    assert client.connection._engine.is_idle


async def test_who_goes_away_cancels_all_answers(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    for path in ("/b", "/c"):
        client.ask(path)
    client.flush()
    await client.settle()
    client.connection.connection_lost(None)
    await client.settle()
    assert sorted(application.cancelled) == ["/b", "/c"]
    assert not client.service.connections


# -- streams -----------------------------------------------------------------------------------------------------------


async def test_content_of_unknown_size_ends_with_its_stream(application: EchoApplication, client: H2Client) -> None:
    application.streams["/s"] = stream = Stream((b"abc", b"", b"def"), None)
    answer = await client.exchange("/s")
    assert (answer.content, answer.is_whole, answer.of("content-length")) == (b"abcdef", True, None)
    assert answer.of("transfer-encoding") is None
    assert stream.closed == 1


@pytest.mark.parametrize("wants", [True, False])
async def test_trailers_are_for_those_who_want_them(
    application: EchoApplication, client: H2Client, wants: bool
) -> None:
    application.streams["/s"] = Stream((b"abc",), None, trailers=(("x-sum", "1"), ("content-length", "7")))
    answer = await client.exchange("/s", fields=[("te", "trailers")] if wants else [])
    assert answer.trailers == ([("x-sum", "1")] if wants else None)
    assert (answer.content, answer.is_whole) == (b"abc", True)


async def test_head_of_a_stream_ends_at_once_and_lets_go_of_it(application: EchoApplication, client: H2Client) -> None:
    application.streams["/s"] = stream = Stream((b"abc",), 3)
    answer = await client.exchange("/s", "HEAD")
    assert (answer.of("content-length"), answer.is_whole, answer.content) == ("3", True, b"")
    assert (stream.given, stream.closed) == (0, 1)


@pytest.mark.parametrize("size_bytes", [2, 4])
async def test_a_stream_of_another_size_is_reset(
    application: EchoApplication, client: H2Client, size_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    application.streams["/s"] = Stream((b"abc",), size_bytes)
    answer = await client.exchange("/s")
    assert not answer.is_whole
    assert answer.reset == ErrorCode.INTERNAL_ERROR
    assert "announced" in caplog.text
    assert client.get().content == b"hello"


async def test_a_stream_that_breaks_off_is_reset_and_others_go_on(
    application: EchoApplication, client: H2Client, caplog: pytest.LogCaptureFixture
) -> None:
    application.streams["/s"] = stream = Stream((b"abc",), None, fails=True)
    answer = await client.exchange("/s")
    assert (answer.status, answer.is_whole, answer.reset) == (200, False, ErrorCode.INTERNAL_ERROR)
    assert stream.closed == 1
    assert client.get().content == b"hello"


async def test_unsent_content_gives_its_size_to_head(application: EchoApplication, client: H2Client) -> None:
    application.responses["/u"] = Response(200, TEXT, Unsent(7))
    answer = await client.exchange("/u", "HEAD")
    assert (answer.status, answer.of("content-length"), answer.is_whole) == (200, "7", True)


async def test_unsent_content_where_some_is_wanted_is_a_500(
    application: EchoApplication, client: H2Client, caplog: pytest.LogCaptureFixture
) -> None:
    application.responses["/u"] = Response(200, TEXT, Unsent(7))
    assert (await client.exchange("/u")).status == 500


async def test_a_stream_waits_for_the_client(application: EchoApplication) -> None:
    part = b"x" * 65_536
    application.streams["/s"] = stream = Stream((part,) * 64, len(part) * 64)
    client = H2Client(application, is_generous=False)
    stream_id = client.ask("/s")
    client.flush()
    await client.settle()
    assert stream.given * len(part) <= 65_535 + H2Limits().max_queued_bytes + len(part)
    assert len(client.streams[stream_id].content) == 65_535
    client.is_generous = True
    client.h2.increment_flow_control_window(1 << 24)
    client.h2.increment_flow_control_window(1 << 24, stream_id)
    client.flush()
    await client.settle()
    answer = client.streams[stream_id]
    assert (len(answer.content), answer.is_whole) == (len(part) * 64, True)
    assert stream.closed == 1


async def test_memory_is_bounded_while_the_transport_is_full(application: EchoApplication) -> None:
    part = b"x" * 65_536
    application.streams["/s"] = stream = Stream((part,) * 64, len(part) * 64)
    client = H2Client(application)
    client.h2.increment_flow_control_window(1 << 24)
    client.h2.update_settings({4: 1 << 24})
    client.flush()
    client.transport.high_bytes = 100_000
    client.ask("/s")
    client.flush()
    await client.settle()
    bound = H2Limits().max_queued_bytes + 3 * 131_072
    assert stream.given * len(part) <= bound
    assert client.transport.waiting_bytes <= bound
    while client.transport.waiting_bytes:
        client.transport.unblock()
        await client.settle()
    assert stream.given == 64


async def test_a_large_hit_leaves_within_the_windows(application: EchoApplication) -> None:
    application.remember("/huge", LARGE)
    client = H2Client(application)
    answer = client.get("/huge")
    await client.settle()
    assert answer.content == LARGE
    assert answer.is_whole


# -- refusals ----------------------------------------------------------------------------------------------------------


async def test_a_malformed_request_is_reset(application: EchoApplication, client: H2Client) -> None:
    client.h2.config.validate_outbound_headers = False
    client.h2.config.normalize_outbound_headers = False
    stream_id = client.ask("/b", fields=[("connection", "close")])
    client.flush()
    assert client.streams[stream_id].reset == ErrorCode.PROTOCOL_ERROR
    assert application.answered == application.recalled == []
    assert client.get().content == b"hello"


async def test_fields_beyond_the_limit_are_431(application: EchoApplication) -> None:
    client = H2Client(application, h2_limits=H2Limits(max_header_list_bytes=2000))
    answer = client.get("/a", fields=[("x-long", "y" * 3000)])
    assert (answer.status, answer.is_whole) == (431, True)
    assert client.service.counters.refused == {"fields-too-large": 1}
    assert client.get().content == b"hello"


async def test_a_host_that_the_certificate_does_not_cover_is_421(application: EchoApplication) -> None:
    class Covered(RecordingTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return CertificateCover(lambda host: host == "b.example") if name == COVER else default

    client = H2Client(application, scheme="https")
    client.connect(Covered())
    answer = client.get()
    assert answer.status == 421
    assert application.recalled == []


async def test_beyond_the_last_connection_nobody_is_served(application: EchoApplication) -> None:
    client = H2Client(application, HttpLimits(max_connections=1))
    client.connect()
    assert [code for _, code, _ in client.goaways] == [ErrorCode.ENHANCE_YOUR_CALM]
    assert client.transport.has_ended
    assert client.service.counters.refused == {"too-many-connections": 1}


async def test_a_broken_connection_is_told_why_and_ends(client: H2Client) -> None:
    client.connection.data_received(b"\0\0\x04\0\0\0\0\0\0abcd")  # DATA without a stream
    client.read()
    assert [code for _, code, _ in client.goaways] == [ErrorCode.PROTOCOL_ERROR]
    assert client.transport.has_ended
    assert client.service.counters.refused == {"h2-protocol-error": 1}
    client.connection.data_received(b"more of it")
    client.connection.check(client.now + client.service.limits.linger_s)
    assert client.transport.is_aborted


async def test_what_is_no_preface_ends_the_connection(client: H2Client) -> None:
    client.connect(is_silent=True)
    client.connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert client.transport.has_ended


# -- time --------------------------------------------------------------------------------------------------------------


async def test_who_says_nothing_is_left(client: H2Client) -> None:
    client.is_generous = False
    client.connect(is_silent=True)
    client.pass_time(client.service.limits.head_timeout_s - 1)
    assert not client.transport.is_over
    client.pass_time(1)
    assert client.transport.is_over


async def test_an_idle_connection_is_closed_in_peace(client: H2Client) -> None:
    client.get()
    client.pass_time(client.service.limits.idle_timeout_s - 1)
    assert not client.goaways
    client.h2.ping(b"12345678")  # is no request
    client.flush()
    client.pass_time(1)
    assert [code for _, code, _ in client.goaways] == [ErrorCode.NO_ERROR]
    assert client.transport.is_over


async def test_who_has_read_a_long_answer_is_not_idle(application: EchoApplication) -> None:
    application.remember("/long", LARGE)
    client = H2Client(application, is_generous=False)
    limits = client.service.limits
    client.ask("/long")
    client.flush()
    client.is_generous = True
    client.pass_time(limits.write_timeout_s - 1)
    client.h2.increment_flow_control_window(len(LARGE))
    client.h2.increment_flow_control_window(len(LARGE), 1)
    client.transport.high_bytes = 1000
    client.flush()
    while not client.streams[1].is_whole:
        client.pass_time(3)
        client.transport.unblock()
        client.read()
    assert client.now > 1000 + limits.idle_timeout_s
    client.pass_time(limits.idle_timeout_s - 4)
    assert client.goaways == []
    client.pass_time(4)
    assert [code for _, code, _ in client.goaways] == [ErrorCode.NO_ERROR]


async def test_a_frame_that_does_not_end_is_given_up(client: H2Client) -> None:
    client.connection.data_received(b"\0\0\x04\1")
    client.pass_time(1)
    client.pass_time(client.service.limits.head_timeout_s - 1)
    assert client.goaways == []
    client.pass_time(1)
    assert client.transport.is_over
    assert client.service.counters.refused == {"head-timeout": 1}


async def test_content_that_comes_too_slowly_is_408(application: EchoApplication, client: H2Client) -> None:
    stream_id = client.ask("/echo", "POST", is_end=False)
    client.flush()
    await client.settle()
    client.pass_time(client.service.limits.content_timeout_s - 1)
    assert client.streams.get(stream_id) is None
    client.pass_time(1)
    await client.settle()
    assert (client.streams[stream_id].status, client.streams[stream_id].reset) == (408, ErrorCode.NO_ERROR)
    assert application.cancelled == ["/echo"]
    assert client.get().content == b"hello"


async def test_the_time_in_which_nobody_reads_does_not_count(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    stream_id = client.ask("/echo", "POST", is_end=False)
    for _ in range(3):
        client.h2.send_data(stream_id, b"x" * 16_384)
    client.flush()
    await client.settle()
    for _ in range(100):
        client.pass_time(1)
    assert client.streams.get(stream_id) is None
    application.gate.set()
    await client.settle()
    client.h2.send_data(stream_id, b"", end_stream=True)
    client.flush()
    await client.settle()
    assert client.streams[stream_id].status == 200


async def test_the_time_in_which_nobody_reads_other_content_does_not_count_either(
    application: EchoApplication,
) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    stream_ids = [client.ask("/echo", "POST", is_end=False) for _ in range(10)]
    client.flush()
    for stream_id in stream_ids:
        left_bytes = 30_000
        while size := min(left_bytes, 15_000, client.h2.local_flow_control_window(stream_id)):
            client.h2.send_data(stream_id, b"x" * size)
            left_bytes -= size
    client.flush()
    assert client.h2.local_flow_control_window(stream_ids[0]) == 0
    for _ in range(100):
        client.pass_time(1)
    assert client.streams == {}
    application.gate.set()
    await client.settle()
    for stream_id in stream_ids:
        client.h2.end_stream(stream_id)
    await client.settle()
    assert [client.streams[stream_id].status for stream_id in stream_ids] == [200] * 10


async def test_who_gives_no_window_loses_the_stream(application: EchoApplication) -> None:
    application.remember("/huge", LARGE)
    client = H2Client(application, is_generous=False)
    client.h2.increment_flow_control_window(1 << 24)  # of the connection: only the stream's is missing
    stream_id = client.ask("/huge")
    client.flush()
    for _ in range(int(client.service.limits.write_timeout_s)):
        client.pass_time(1)
        assert client.streams[stream_id].reset is None
    client.pass_time(1)
    assert client.streams[stream_id].reset == ErrorCode.CANCEL
    assert client.service.counters.timed_out == 1
    assert client.get().content == b"hello"


async def test_who_gives_the_connection_no_window_loses_it(application: EchoApplication) -> None:
    application.remember("/huge", LARGE)
    client = H2Client(application, is_generous=False)
    client.h2.update_settings({4: 1 << 24})
    client.get("/huge")
    for _ in range(int(client.service.limits.write_timeout_s) + 1):
        client.pass_time(1)
    assert client.transport.is_aborted


async def test_who_does_not_read_loses_the_connection(application: EchoApplication) -> None:
    client = H2Client(application, HttpLimits(min_transfer_rate_bytes_per_s=1 << 20))
    client.transport.high_bytes = 1000
    client.get("/large")
    assert client.transport.waiting_bytes > 1000
    client.pass_time(client.service.limits.write_timeout_s - 1)
    assert not client.transport.is_over
    client.pass_time(2)
    assert client.transport.is_aborted


# -- the end -----------------------------------------------------------------------------------------------------------


async def test_a_withdrawn_connection_says_so_and_goes_on(client: H2Client) -> None:
    client.is_generous = False
    client.connection.withdraw()
    client.read()
    assert [code for _, code, _ in client.goaways] == [ErrorCode.NO_ERROR]
    assert not client.transport.is_over


async def test_draining_ends_once_the_client_has_read_of_it(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    client.ask("/echo")
    client.flush()
    await client.settle()
    client.connection.drain()
    client.read()
    await client.settle()
    assert not client.transport.is_over
    application.gate.set()
    await client.settle()
    assert client.streams[1].is_whole
    assert client.transport.is_over


async def test_who_reads_slowly_has_the_last_answer_whole(client: H2Client) -> None:
    limits = client.service.limits
    client.transport.high_bytes = 1 << 20  # nothing has left yet, and nobody has been told to pause
    client.is_generous = False
    client.connection.withdraw()
    client.get("/large")
    client.connection.drain()
    client.read()
    assert client.transport.has_ended
    client.pass_time(limits.linger_s + 1)
    assert not client.transport.is_aborted
    client.transport.waiting_bytes = 0
    client.pass_time(limits.linger_s - 1)
    assert not client.transport.is_aborted
    client.pass_time(1.5)
    assert client.transport.is_aborted


async def test_who_reads_nothing_of_the_last_answer_is_left(client: H2Client) -> None:
    client.transport.high_bytes = 1 << 20
    client.is_generous = False
    client.connection.withdraw()
    client.get("/large")
    client.connection.drain()
    limits = client.service.limits
    client.pass_time(limits.write_timeout_s + client.transport.waiting_bytes / limits.min_transfer_rate_bytes_per_s + 1)
    assert client.transport.is_aborted


async def test_draining_does_not_wait_long_for_a_silent_client(client: H2Client) -> None:
    client.is_generous = False
    client.connection.drain()
    assert not client.transport.is_over
    client.pass_time(client.service.limits.linger_s)
    assert client.transport.is_over


async def test_what_was_withdrawn_before_ends_at_once(client: H2Client) -> None:
    client.is_generous = False
    client.connection.withdraw()
    client.connection.drain()
    assert client.transport.is_over


async def test_one_that_comes_while_draining_is_served_and_ends(client: H2Client) -> None:
    client.service.is_withdrawn = client.service.is_draining = True
    client.connect()
    assert client.goaways == [], "nothing was asked for yet"
    client.now += 1
    assert client.get().content == b"hello"
    assert client.transport.is_over


async def test_one_that_comes_while_draining_and_asks_for_nothing_is_left(client: H2Client) -> None:
    client.service.is_draining = True
    client.connect()
    client.is_generous = False
    client.pass_time(client.service.limits.linger_s - 1)
    assert client.goaways == []
    client.pass_time(1)
    client.pass_time(1)
    assert client.transport.is_over


async def test_one_that_comes_while_withdrawn_is_told_with_its_first_answer(client: H2Client) -> None:
    client.service.is_withdrawn = True
    client.connect()
    client.is_generous = False
    assert client.goaways == []
    client.now += 1
    assert client.get().content == b"hello"
    assert [code for _, code, _ in client.goaways] == [ErrorCode.NO_ERROR]


async def test_a_client_that_ends_has_what_it_asked_for(application: EchoApplication) -> None:
    application.gate = asyncio.Event()
    client = H2Client(application)
    stream_id = client.ask("/echo")
    client.flush()
    assert client.connection.eof_received()
    application.gate.set()
    await client.settle()
    assert client.streams[stream_id].is_whole
    assert client.transport.is_closed


async def test_an_idle_client_that_ends_is_left(client: H2Client) -> None:
    assert not client.connection.eof_received()
    assert client.transport.is_closed
