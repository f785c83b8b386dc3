"""What is remembered of answers, and that it has a bound."""

from __future__ import annotations

from cdn.dns.answer_memo import ANSWER_BYTES, KEY_BYTES, AnswerMemo


def test_what_is_asked_for_stays_and_the_rest_goes() -> None:
    memo = AnswerMemo(limit_bytes=2 * 20 * (KEY_BYTES + 4))
    for number in range(1000):
        memo.keep(b"%04d" % number, 4, (b"", 1, 0, 0))
        assert memo.find(b"0000", 4) == (b"", 1, 0, 0)
        assert len(memo.newer) + len(memo._older) <= 45
    assert memo.find(b"0001", 4) is None
    memo.clear()
    assert memo.find(b"0000", 4) is None


def test_equal_answers_are_held_once() -> None:
    memo = AnswerMemo()
    first, second = (b"same answer", 1, 0, 0), (bytes(bytearray(b"same answer")), 1, 0, 0)
    memo.keep(b"a", 1, first)
    before = memo._bytes
    memo.keep(b"b", 1, second)
    assert memo.find(b"b", 1) is memo.find(b"a", 1) is first
    assert memo._bytes - before == KEY_BYTES + 1
    memo.keep(b"c", 1, (b"another", 1, 0, 0))
    assert memo._bytes - before == 2 * (KEY_BYTES + 1) + ANSWER_BYTES + len(b"another")
    before = memo._bytes
    memo.keep(b"d", 1, first)
    assert memo._bytes - before == KEY_BYTES + 1, "the very same one too"
