"""The faults that a fleet has to bear, and the combinations that stand for them in short."""

from __future__ import annotations

from tests.e2e.cut_proxy import Direction
from tests.e2e.fault_field import EDGES, NAMER
from tests.e2e.faults import (
    ALL,
    CONTROLS,
    NATS,
    Fault,
    Need,
    blackout,
    clock_jump,
    cut,
    deaf,
    disk_full,
    frozen,
    killed,
    leader_killed,
    left_behind,
    line_fault,
    mute,
    node_process_killed,
    nothing,
    refused,
    spoilt,
    step_down,
    worker_frozen,
    worker_killed,
)
from tests.e2e.spoilers import flip, slow, truncate

HOUR_S = 3600

PROCESSES = (
    killed(NAMER),
    killed("e1", holds_s=1.0),
    killed("e1", "e2", "e3"),
    node_process_killed("e3"),
    worker_killed("e3"),
    worker_frozen("e3"),
    killed("c1"),
    killed("c2"),
    killed("c1", "c2", stops_writes=True, holds_s=3.0),
    frozen("e2"),
    frozen("c1"),
    frozen("c2"),
)

SERVERS = (
    killed("n2"),
    killed("n1", "n2", "n3", stops_writes=True, holds_s=3.0),
    leader_killed(),
    frozen("n3"),
    frozen("n1", "n2", "n3", stops_writes=True, holds_s=4.0, detaches=ALL),
    Fault("NATS elects other leaders", step_down, nothing, frozenset(NATS), needs=frozenset({Need.CLUSTER})),
    killed("s3", hurts=ALL, stops_writes=True, holds_s=1.0),
    frozen("s3", hurts=ALL, stops_writes=True, holds_s=3.0),
)

LINES = (
    line_fault("a cut", cut, [NAMER], CONTROLS),
    line_fault("a cut", cut, ["e1"], CONTROLS, detaches=frozenset({"e1"})),
    line_fault("a blackout", blackout, ["e2"], CONTROLS, detaches=frozenset({"e2"})),
    line_fault("loss of what comes down", deaf, ["e3"], CONTROLS, detaches=frozenset({"e3"})),
    line_fault("loss of what goes up", mute, ["e1"], CONTROLS, detaches=frozenset({"e1"})),
    line_fault("a cut", cut, ["c1"], NATS),
    line_fault("a blackout", blackout, ["c2"], NATS),
    line_fault("loss of what comes down", deaf, ["c1"], NATS),
    line_fault("loss of what goes up", mute, ["c2"], NATS),
    line_fault("a blackout", blackout, CONTROLS, NATS, detaches=ALL, stops_writes=True),
    line_fault("a cut", cut, ["e3"], ["s3"], hurts=frozenset({"e3"}), holds_s=1.0),
    line_fault("a blackout", blackout, ["e2"], ["s3"], hurts=frozenset({"e2"})),
    line_fault("a blackout", blackout, CONTROLS, ["s3"], stops_writes=True),
)

STORE = (
    line_fault("changed bytes", spoilt(flip), ["e1", "e2"], ["s3"], refuses=frozenset({"e1", "e2"}), holds_s=1.0),
    line_fault("missing ends", spoilt(truncate), ["e2", "e3"], ["s3"], refuses=frozenset({"e2", "e3"}), holds_s=1.0),
    line_fault("503", refused, ["e1"], ["s3"], refuses=frozenset({"e1"}), holds_s=1.0),
    line_fault("a slow store", spoilt(slow), EDGES, ["s3"], hurts=ALL, holds_s=2.0),
    line_fault("changed bytes", spoilt(flip), CONTROLS, ["s3"], stops_writes=True, holds_s=1.0),
    line_fault("changed uploads", spoilt(flip, Direction.UP), CONTROLS, ["s3"], stops_writes=True, holds_s=1.0),
    line_fault("503", refused, CONTROLS, ["s3"], stops_writes=True, holds_s=1.0),
    line_fault("a slow store", spoilt(slow), CONTROLS, ["s3"], stops_writes=True, holds_s=2.0),
)

MACHINES = (
    disk_full("e3", detaches=frozenset({"e3"})),
    disk_full("c1", stops_writes=True),
    clock_jump(HOUR_S, "e1", hurts=frozenset({"e1"})),  # S3 takes no signature from so far away
    clock_jump(-HOUR_S, "e1", hurts=frozenset({"e1"})),
    clock_jump(HOUR_S, "c1"),
    clock_jump(-HOUR_S, "c1"),
)

JOURNAL = (left_behind("e2"),)

FAULTS = (*PROCESSES, *SERVERS, *LINES, *STORE, *MACHINES, *JOURNAL)

EMBEDDED_SHORT = (
    (killed("e1"), node_process_killed("e3")),
    (killed("c1"), killed(NAMER)),
    (frozen("e2"), worker_frozen("e3")),
    (
        line_fault("a cut", cut, ["e1"], CONTROLS, detaches=frozenset({"e1"})),
        line_fault("a blackout", blackout, ["e2"], CONTROLS, detaches=frozenset({"e2"})),
        line_fault("loss of what comes down", deaf, ["e3"], CONTROLS, detaches=frozenset({"e3"})),
    ),
    (left_behind("e2"), worker_killed("e3")),
    (disk_full("e3", detaches=frozenset({"e3"})), clock_jump(HOUR_S, "e1", "c1")),
    (disk_full("c1", stops_writes=True), clock_jump(-HOUR_S, "e1")),
    (clock_jump(-HOUR_S, "c1"),),
)
"""What stands for the tables on one machine, together at a time."""

FULL_SHORT = (
    (
        killed("e1"),
        line_fault("a blackout", blackout, ["e2"], CONTROLS, detaches=frozenset({"e2"})),
        line_fault("503", refused, ["e3"], ["s3"], refuses=frozenset({"e3"})),
    ),
    (leader_killed(), line_fault("changed bytes", spoilt(flip), ["e1"], ["s3"], hurts=frozenset({"e1"}))),
    (
        killed("c1"),
        line_fault("loss of what goes up", mute, ["e1"], CONTROLS, detaches=frozenset({"e1"})),
        line_fault("missing ends", spoilt(truncate), ["e2"], ["s3"], refuses=frozenset({"e2"})),
    ),
    (frozen("c2"), line_fault("loss of what comes down", deaf, ["e3"], CONTROLS, detaches=frozenset({"e3"}))),
    (killed("n1", "n2", "n3", stops_writes=True, holds_s=1.0), killed(NAMER)),
)
"""What stands for the processes of a fleet."""

FULL_SHORT_LINES = (
    (frozen("e2"), killed("s3", hurts=ALL, stops_writes=True)),
    (line_fault("a blackout", blackout, CONTROLS, NATS, detaches=ALL, stops_writes=True),),
    (
        Fault("NATS elects other leaders", step_down, nothing, frozenset(NATS)),
        clock_jump(HOUR_S, "e1", hurts=frozenset({"e1"})),
        line_fault("changed uploads", spoilt(flip, Direction.UP), ["c2"], ["s3"], stops_writes=True),
    ),
    (
        disk_full("e3", detaches=frozenset({"e3"})),
        clock_jump(-HOUR_S, "c1"),
        line_fault("a slow store", spoilt(slow), ["e2"], ["s3"], hurts=frozenset({"e2"})),
    ),
    (left_behind("e2"), worker_killed("e3")),
    (frozen("n1", "n2", "n3", detaches=ALL, stops_writes=True),),
)
"""What stands for its lines, its store and its machines."""

SMALL_DISKS = ("e3", "c1")
WALL_CLOCKS = ("e1", "c1")
