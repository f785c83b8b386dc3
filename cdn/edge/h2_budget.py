"""How often a client may do what costs the server and brings nobody anything (H2Limits)."""

from __future__ import annotations

from cdn.edge.h2_events import ErrorCode
from cdn.edge.h2_frames import ConnectionFault
from cdn.edge.h2_limits import H2Limits

FRAMES_PER_STREAM = 4
"""Control frames that each stream brings with it: a priority, and windows."""

SENT_BYTES_PER_FRAME = 256
"""And content that was sent: a client may give windows for each DATA frame, of its own and of the connection."""


class ClientBudget:
    """Counts within windows of `fault_window_s`, one after the other."""

    __slots__ = ("_began_at", "_control_frames", "_limits", "_resets", "_sent_bytes", "_streams")

    def __init__(self, limits: H2Limits) -> None:
        self._limits = limits
        self._began_at = float("-inf")
        self._control_frames = self._resets = 0
        self._sent_bytes = self._streams = 0

    def count_reset(self, now: float, sent_bytes: int, streams: int) -> None:
        """A stream ended without its answer for a reason of the client. Raises ConnectionFault.

        `sent_bytes` of content and `streams` are the connection's so far.
        """
        if now >= self._began_at + self._limits.fault_window_s:
            self._begin(now, sent_bytes, streams)
        self._resets += 1
        if self._resets > self._limits.max_resets:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams were reset")

    def count_control_frame(self, now: float, sent_bytes: int, streams: int) -> None:
        """A frame that asks for nothing came. Arguments and errors as in `count_reset`."""
        if now >= self._began_at + self._limits.fault_window_s:
            self._begin(now, sent_bytes, streams)
        self._control_frames += 1
        most = self._limits.max_control_frames
        if self._control_frames > most:
            most += (streams - self._streams) * FRAMES_PER_STREAM
            most += (sent_bytes - self._sent_bytes) // SENT_BYTES_PER_FRAME
            if self._control_frames > most:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many control frames")

    def _begin(self, now: float, sent_bytes: int, streams: int) -> None:
        self._began_at = now
        self._control_frames = self._resets = 0
        self._sent_bytes, self._streams = sent_bytes, streams
