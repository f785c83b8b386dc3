"""The engine against python-hyper's h2 as its client: whatever both do, they understand each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from cdn.edge.h2_engine import H2Engine
from cdn.edge.h2_events import ConnectionOver, ContentEnd, ContentPart, ErrorCode, RequestHead, StreamOver, Writable
from cdn.edge.h2_limits import H2Limits
from cdn.edge.hpack_encoding import encode_field, encode_status

NOW = 50.0
picks = st.randoms(use_true_random=False)


@dataclass
class Exchange:
    """A request and its response as each side has seen them."""

    sent: bytearray = field(default_factory=bytearray)
    read: bytearray = field(default_factory=bytearray)
    is_sent: bool = False
    is_read: bool = False
    answer: bytearray = field(default_factory=bytearray)
    heard: bytearray = field(default_factory=bytearray)
    status: str = ""
    has_head: bool = False
    is_answered: bool = False
    is_heard: bool = False
    trailers: list[tuple[str, str]] = field(default_factory=list)
    heard_trailers: list[tuple[str, str]] = field(default_factory=list)
    is_reset: bool = False


class Conversation(RuleBasedStateMachine):
    """Octets go both ways in random pieces; at the end everything that was said was heard."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = H2Engine(H2Limits(max_control_frames=10**6, max_resets=10**6, max_queued_bytes=4000))
        self.engine.start()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self.exchanges: dict[int, Exchange] = {}
        self.to_server = b""
        self.to_client = b""
        self.unacknowledged = 0

    @initialize(
        initial_bytes=st.sampled_from([0, 1, 500, 65_535, 2**20]), table_bytes=st.sampled_from([0, 100, 4096, 65_536])
    )
    def begin(self, initial_bytes: int, table_bytes: int) -> None:
        codes = h2.settings.SettingCodes
        self.client.local_settings = h2.settings.Settings(
            client=True,
            initial_values={codes.INITIAL_WINDOW_SIZE: initial_bytes, codes.HEADER_TABLE_SIZE: table_bytes},
        )
        self.client.decoder.max_allowed_table_size = table_bytes
        self.client.initiate_connection()
        self.unacknowledged = 1

    # -- the client

    def of(self, **states: bool) -> list[int]:
        return [
            stream_id
            for stream_id, exchange in self.exchanges.items()
            if not exchange.is_reset and all(getattr(exchange, name) is value for name, value in states.items())
        ]

    @rule(
        path=st.text("abc/", max_size=8),
        priority=st.sampled_from(["", "u=0", "u=5, i", "i"]),
        has_content=st.booleans(),
    )
    def ask(self, path: str, priority: str, has_content: bool) -> None:
        if len(self.exchanges) >= 100:
            return
        stream_id = self.client.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "https"), (":authority", "a.example"), (":path", "/" + path)]
        fields += [("priority", priority)] if priority else []
        self.client.send_headers(stream_id, fields, end_stream=not has_content)
        self.exchanges[stream_id] = Exchange(is_sent=not has_content)

    @precondition(lambda self: self.of(is_sent=False))
    @rule(pick=picks, size=st.integers(0, 20_000), padding_bytes=st.sampled_from([None, 0, 50]), is_end=st.booleans())
    def upload(self, pick: Random, size: int, padding_bytes: int | None, is_end: bool) -> None:
        stream_id = pick.choice(self.of(is_sent=False))
        exchange = self.exchanges[stream_id]
        size = max(0, min(size, self.client.local_flow_control_window(stream_id) - 60, 16_000))
        part = pick.randbytes(4) * (size // 4)
        if not part and self.client.local_flow_control_window(stream_id) < 60:
            padding_bytes = None
        self.client.send_data(stream_id, part, end_stream=is_end, pad_length=padding_bytes)
        exchange.sent += part
        exchange.is_sent = is_end

    @precondition(lambda self: self.of(is_sent=False))
    @rule(pick=picks)
    def end_with_trailers(self, pick: Random) -> None:
        stream_id = pick.choice(self.of(is_sent=False))
        self.client.send_headers(stream_id, [("x-trailer", "1")], end_stream=True)
        self.exchanges[stream_id].is_sent = True

    @precondition(lambda self: self.of(is_heard=False))
    @rule(pick=picks)
    def cancel(self, pick: Random) -> None:
        stream_id = pick.choice(self.of(is_heard=False))
        self.client.reset_stream(stream_id, ErrorCode.CANCEL)
        self.exchanges[stream_id].is_reset = True

    @precondition(lambda self: self.exchanges)
    @rule(more_bytes=st.integers(1, 100_000), pick=picks)
    def widen(self, more_bytes: int, pick: Random) -> None:
        self.client.increment_flow_control_window(more_bytes)
        for stream_id in self.of(is_heard=False):
            if pick.random() < 0.5:
                self.client.increment_flow_control_window(more_bytes, stream_id)

    @precondition(lambda self: not self.unacknowledged)  # h2 takes any acknowledgement for that of its last change
    @rule(initial_bytes=st.integers(0, 100_000))
    def move(self, initial_bytes: int) -> None:
        self.unacknowledged += 1
        self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: initial_bytes})

    @rule()
    def knock(self) -> None:
        self.client.ping(b"12345678")

    # -- the server

    def asked(self, **states: bool) -> list[int]:
        return [stream_id for stream_id in self.of(**states) if self.exchanges[stream_id].status]

    @precondition(lambda self: self.asked(has_head=False, is_answered=False))
    @rule(
        pick=picks, size=st.sampled_from([0, 1, 1000, 16_384, 16_385, 100_000]), head_bytes=st.sampled_from([0, 20_000])
    )
    def respond(self, pick: Random, size: int, head_bytes: int) -> None:
        stream_id = pick.choice(self.asked(has_head=False, is_answered=False))
        exchange = self.exchanges[stream_id]
        exchange.answer += pick.randbytes(1) * size
        block = encode_status(200) + encode_field(b"x-long", b"v" * head_bytes)
        self.engine.respond(stream_id, block, bytes(exchange.answer))
        exchange.has_head = exchange.is_answered = True

    @precondition(lambda self: self.asked(has_head=False, is_answered=False))
    @rule(pick=picks, has_interim=st.booleans())
    def begin_answer(self, pick: Random, has_interim: bool) -> None:
        stream_id = pick.choice(self.asked(has_head=False, is_answered=False))
        if has_interim:
            self.engine.send_interim(stream_id, encode_status(103))
        self.engine.send_head(stream_id, encode_status(200), is_end=False)
        self.exchanges[stream_id].has_head = True

    @precondition(lambda self: self.asked(has_head=True, is_answered=False))
    @rule(pick=picks, size=st.integers(0, 20_000), end=st.sampled_from(["", "content", "trailers"]))
    def go_on(self, pick: Random, size: int, end: str) -> None:
        stream_id = pick.choice(self.asked(has_head=True, is_answered=False))
        exchange = self.exchanges[stream_id]
        part = pick.randbytes(1) * size
        if self.engine.may_send(stream_id):
            exchange.answer += part
            self.engine.send_content(stream_id, part, is_end=end == "content")
            exchange.is_answered = end == "content"
        if end == "trailers" and not exchange.is_answered:
            exchange.trailers = [("x-sum", "1")]
            self.engine.send_trailers(stream_id, encode_field(b"x-sum", b"1"))
            exchange.is_answered = True

    @precondition(lambda self: self.asked(is_answered=False))
    @rule(pick=picks)
    def give_up(self, pick: Random) -> None:
        stream_id = pick.choice(self.asked(is_answered=False))
        self.engine.reset(stream_id, ErrorCode.INTERNAL_ERROR)
        self.exchanges[stream_id].is_reset = True

    # -- between them

    @rule(size=st.integers(1, 30_000))
    def carry_up(self, size: int) -> None:
        self.to_server += self.client.data_to_send()
        part, self.to_server = self.to_server[:size], self.to_server[size:]
        for event in [*self.engine.receive(part, NOW), *self.engine.take_events()]:
            exchange = self.exchanges[getattr(event, "stream_id", 0)]
            match event:
                case RequestHead():
                    exchange.status = "asked"
                    exchange.is_read = event.is_end
                    assert event.fields[0] == (":method", "POST")
                case ContentPart(stream_id, content, flow_bytes):
                    exchange.read += content
                    self.engine.consumed(stream_id, flow_bytes)
                case ContentEnd():
                    exchange.is_read = True
                case StreamOver():
                    assert exchange.is_reset
                case Writable():
                    pass
                case ConnectionOver(code, reason):
                    raise AssertionError((code, reason))

    @rule(size=st.integers(1, 30_000), max_bytes=st.sampled_from([0, 10_000, 2**30]))
    def carry_down(self, size: int, max_bytes: int) -> None:
        self.to_client += b"".join(self.engine.output(max_bytes))
        part, self.to_client = self.to_client[:size], self.to_client[size:]
        for event in self.client.receive_data(part):
            match event:
                case h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                    pass
                case h2.events.DataReceived():
                    self.exchanges[event.stream_id].heard += event.data
                case h2.events.TrailersReceived():
                    self.exchanges[event.stream_id].heard_trailers = [(str(n), str(v)) for n, v in event.headers]
                case h2.events.StreamEnded():
                    self.exchanges[event.stream_id].is_heard = True
                case h2.events.SettingsAcknowledged():
                    self.unacknowledged -= 1
                case h2.events.StreamReset():
                    self.exchanges[event.stream_id].is_reset = True
                case _:
                    pass

    def teardown(self) -> None:
        """The client opens every window and reads all: then everything has arrived."""
        if not self.client.state_machine.state.name.startswith("IDLE"):
            self.client.increment_flow_control_window(2**24)
            self.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
            for _ in range(4):
                self.carry_up(2**30)
                self.carry_down(2**30, 2**30)
        for exchange in self.exchanges.values():
            if exchange.is_reset:
                continue
            assert exchange.heard == exchange.answer
            assert exchange.is_heard is exchange.is_answered
            assert exchange.heard_trailers == exchange.trailers
            assert exchange.read == exchange.sent
            assert exchange.is_read is exchange.is_sent
        assert not self.engine.is_over
        assert self.engine.open_streams == sum(
            not exchange.is_reset and not (exchange.is_heard and exchange.is_read)
            for exchange in self.exchanges.values()
        )


Conversation.TestCase.settings = settings(max_examples=40, stateful_step_count=60, deadline=None)
TestConversation = Conversation.TestCase
