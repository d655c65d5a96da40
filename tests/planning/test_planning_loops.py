"""Execution counts in the loops, calls and branches of a compiled program."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from mpjax.planning.collectives import Collectives, count_collectives
from mpjax.planning.hlo import parse_hlo
from mpjax.planning.loops import trip_count, walk
from mpjax.planning.traffic import hbm_bytes
from mpjax.pruning.topk.masks import top_k_masks

# A loop that starts at `start` and gathers f32[4] from four devices in every iteration.
LOOP = """
%raised (q: u32[]) -> u32[] {{
  %q = u32[] parameter(0)
  %c = u32[] constant({stride})
  ROOT %s = u32[] add(%c, %q)
}}

%both (m: u32[], d: pred[], j: u32[]) -> pred[] {{
  %j = u32[] parameter(2)
  %d = pred[] parameter(1)
  %m = u32[] parameter(0)
  %l = pred[] compare(%j, %m), direction=GT
  ROOT %b = pred[] and(%d, %l)
}}

%body (p: (u32[], f32[4])) -> (u32[], f32[4]) {{
  %p = (u32[], f32[4]{{0}}) parameter(0)
  %i = u32[] get-tuple-element(%p), index=0
  %x = f32[4]{{0}} get-tuple-element(%p), index=1
  %one = u32[] constant({stride})
  {step}
  %g = f32[16]{{0:T(128)S(1)}} all-gather(%x), replica_groups={{{{0,1,2,3}}}}, dimensions={{0}}
  ROOT %t = (u32[], f32[4]{{0}}) {root}(%next, %x)
}}

%condition (p: (u32[], f32[4])) -> pred[] {{
  %p = (u32[], f32[4]{{0}}) parameter(0)
  %i = u32[] get-tuple-element(%p), index=0
  %limit = u32[] constant({limit})
  %unfinished = pred[] custom-call(%p)
  %less = pred[] compare({compared}), direction={direction}
  {condition}
}}

ENTRY %main (x: f32[4]) -> (u32[], f32[4]) {{
  %x = f32[4]{{0}} parameter(0)
  %eight = u32[] constant(8)
  %pair = (f32[4]{{0}}, u32[]) tuple(%x, %eight)
  %zero = u32[] {start}
  %first = (u32[], f32[4]{{0}}) {first}
  ROOT %loop = (u32[], f32[4]{{0}}) while(%first), condition=%condition, body=%body{known}
}}
"""
PLAIN = {
    "start": "constant(0)", "first": "tuple(%zero, %x)", "limit": 5, "stride": 1,
    "step": "%next = u32[] add(%i, %one)",
    "root": "tuple", "compared": "%i, %limit",
    "direction": "LT", "condition": "ROOT %c = pred[] copy(%less)",
    "known": "",
}  # fmt: skip
DOWN = {"start": "constant(8)", "limit": 2, "stride": 2**32 - 1, "direction": "GT"}
KNOWN = {"known": ', backend_config={"known_trip_count":{"n":"7"}}'}
OR_DONE = {"condition": "ROOT %c = pred[] and(%unfinished, %less)"}
SOONER = """%three = u32[] constant(3)
  %sooner = pred[] compare(%i, %three), direction=LT
  ROOT %c = pred[] and(%less, %sooner)"""
TWICE = """%two = u32[] constant(2)
  %a = u32[] add(%i, %one)
  %next = u32[] add(%two, %a)"""
AGAIN = """%a = u32[] add(%i, %one)
  %next = u32[] add(%a, %one)"""
DOUBLED = """%a = u32[] add(%i, %i)
  %next = u32[] add(%a, %one)"""
ANOTHER = """%j = u32[] get-tuple-element(%p), index=1
  %next = u32[] add(%j, %one)"""
MADE = """%q = (u32[]) custom-call(%p)
  %j = u32[] get-tuple-element(%q), index=0
  %next = u32[] add(%j, %one)"""
FUSED_STEP = {"step": "%next = u32[] fusion(%i), kind=kLoop, calls=%raised"}
FUSED_END = {
    "condition": "ROOT %c = pred[] fusion(%limit, %unfinished, %i), kind=kLoop, calls=%both"
}

EXACT = {
    "plain": ({}, 5),
    "by two": ({"start": "constant(1)", "limit": 8, "stride": 2}, 4),
    "never begins": ({"start": "constant(9)"}, 0),
    "noted": ({"start": "add(%a, %b)"} | KNOWN, 7),
    "noted, not counted": (KNOWN, 7),
    "down": (DOWN, 6),
    "down, signed": (DOWN | {"stride": -1}, 6),
    "down, subtracting": (DOWN | {"stride": 1, "step": "%next = u32[] subtract(%i, %one)"}, 6),
    "up to and with": ({"direction": "LE"}, 6),
    "down to and with": (DOWN | {"direction": "GE"}, 7),
    "down, by two, to and with": (DOWN | {"stride": 2**32 - 2, "direction": "GE"}, 4),
    "until equal": ({"direction": "NE"}, 5),
    "until equal, down": (DOWN | {"direction": "NE"}, 6),
    "limit first": ({"compared": "%limit, %i", "direction": "GT"}, 5),
    "limit first, to and with": ({"compared": "%limit, %i", "direction": "GE"}, 6),
    "two limits": ({"condition": SOONER}, 3),
    "copied start": ({"start": "copy(%eight)", "limit": 10}, 2),
    "unrolled": ({"limit": 8, "step": TWICE}, 3),
    "unrolled, down": (DOWN | {"step": AGAIN}, 3),
    "start out of a tuple": ({"start": "get-tuple-element(%pair), index=1", "limit": 10}, 2),
    "fused step": (DOWN | FUSED_STEP, 6),
    "called step": (DOWN | {"step": "%next = u32[] call(%i), to_apply=%raised"}, 6),
}
AT_MOST = {
    "or done": (DOWN | OR_DONE, 6),
    "or done, fused": (DOWN | FUSED_STEP | FUSED_END, 6),
}
UNKNOWN = {
    "start": {"start": "add(%a, %b)"},
    "start of another kind": {"start": "iota()"},
    "away from the limit": DOWN | {"stride": 1},
    "away from what it must equal": {"direction": "NE", "start": "constant(8)"},
    "past the limit": {"direction": "NE", "stride": 2},
    "until not equal": {"direction": "EQ"},
    "fraction": {"limit": "0.5"},
    "no limit": {"compared": "%i, %i"},
    "doubled": {"step": DOUBLED},
    "subtracted from": DOWN | {"step": "%next = u32[] subtract(%one, %i)", "stride": 1},
    "multiplied": DOWN | {"step": "%next = u32[] multiply(%i, %one)", "stride": 2},
    "of another part": {"step": ANOTHER},
    "of another tuple": {"step": MADE},
    "of no tuple": {"root": "custom-call"},
    "stands still": {"stride": 0},
    "no comparison": {"condition": "ROOT %c = pred[] copy(%unfinished)"},
}


def looping(changes):
    return LOOP.format(**PLAIN | changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        *(pytest.param(c, (n, True), id=name) for name, (c, n) in EXACT.items()),
        *(pytest.param(c, (n, False), id=name) for name, (c, n) in AT_MOST.items()),
        *(pytest.param(c, (1, False), id=f"unknown: {name}") for name, c in UNKNOWN.items()),
    ],
)
def test_what_is_in_a_loop_counts_as_often_as_it_runs(changes, expected):
    count, certain = expected
    # Each device sends its 16 bytes to three others.
    moves = count_collectives(parse_hlo(looping(changes)), 4)
    assert moves == {"all-gather": Collectives(count, count * 48, certain)}


def test_numbers_keep_their_width():
    # 255 is minus one in eight bits, and 255 in 32.
    wide = looping({"stride": 255, "limit": 1000})
    assert count_collectives(parse_hlo(wide), 4)["all-gather"] == Collectives(4, 192)
    narrow = looping(DOWN | {"stride": 255}).replace("u32", "u8")
    assert count_collectives(parse_hlo(narrow), 4)["all-gather"] == Collectives(6, 288)


def test_a_loop_that_is_called_starts_where_its_one_caller_says():
    called = looping({"first": "parameter(1)"}).replace("ENTRY %main", "%called")
    once = """
ENTRY %main (x: f32[4]) -> (u32[], f32[4]) {
  %x = f32[4]{0} parameter(0)
  %two = u32[] constant(2)
  %state = (u32[], f32[4]{0}) tuple(%two, %x)
  ROOT %c = (u32[], f32[4]{0}) call(%x, %state), to_apply=%called
}
"""
    assert count_collectives(parse_hlo(called + once), 4)["all-gather"] == Collectives(3, 144)
    again = once.replace("\n}", "\n  %b = (u32[], f32[4]{0}) call(%x, %x), to_apply=%called\n}")
    assert count_collectives(parse_hlo(called + again), 4)["all-gather"] == Collectives(
        2, 96, False
    )
    assert (
        count_collectives(parse_hlo(looping({"first": "parameter(1)"})), 4)["all-gather"].count == 1
    )


def test_every_loop_of_a_selection_has_a_bound():
    def choose(a, b):
        return top_k_masks([a, b], [5, 7]), top_k_masks([a, b], [9], joint=True)

    x = jnp.ones((8, 16))
    compiled: Any = jax.jit(choose).lower(x, x).compile()
    program = parse_hlo(compiled.as_text())
    loops = [i for _, i, _, _ in walk(program) if i.opcode == "while"]
    assert len(loops) >= 2
    for loop in loops:
        found = trip_count(program, loop)
        assert found is not None and 2 <= found.count <= 32


NESTED = """
%inner (p: (f32[4])) -> (f32[4]) {
  %p = (f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=0
  %g = f32[16]{0} all-gather(%x), replica_groups={}
  ROOT %t = (f32[4]{0}) tuple(%x)
}
%outer (p: (f32[4])) -> (f32[4]) {
  %p = (f32[4]{0}) parameter(0)
  ROOT %w = (f32[4]{0}) while(%p), condition=%go_on, body=%inner, INNER
}
%go_on (p: (f32[4])) -> pred[] {
  %p = (f32[4]{0}) parameter(0)
  ROOT %unfinished = pred[] custom-call(%p)
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %first = (f32[4]{0}) tuple(%x)
  %w = (f32[4]{0}) while(%first), condition=%go_on, body=%outer, OUTER
  %y = f32[4]{0} get-tuple-element(%w), index=0
  ROOT %sum = f32[4]{0} all-reduce(%y), replica_groups={}, to_apply=%add
}
"""


@pytest.mark.parametrize(
    ("outer", "inner", "turns", "certain"),
    [(4, 8, 32, True), (4, None, 4, False), (None, 8, 8, False)],
)
def test_loops_in_loops_multiply_and_doubt_stays_inside(outer, inner, turns, certain):
    def note(n):
        return f'backend_config={{"known_trip_count":{{"n":"{n}"}}}}' if n else "x=0"

    text = NESTED.replace("INNER", note(inner)).replace("OUTER", note(outer))
    moves = count_collectives(parse_hlo(text), 4)
    assert moves["all-gather"] == Collectives(turns, turns * 48, certain)
    assert moves["all-reduce"] == Collectives(1, 24, True)


CALLED = """
%yes (x: f32[4]) -> f32[16] {
  %x = f32[4]{0} parameter(0)
  ROOT %g = f32[16]{0} all-gather(%x), replica_groups={}
}
%no (x: f32[4]) -> f32[16] {
  %x = f32[4]{0} parameter(0)
  ROOT %s = f32[4]{0} all-reduce(%x), replica_groups={}, to_apply=%add
}
%always (x: f32[4]) -> f32[1] {
  %x = f32[4]{0} parameter(0)
  ROOT %s = f32[1]{0} reduce-scatter(%x), replica_groups={}, to_apply=%add
}
%meanwhile (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  ROOT %s = f32[4]{0} all-to-all(%x), replica_groups={}
}
ENTRY %main (x: f32[4], i: s32[]) -> f32[16] {
  %x = f32[4]{0} parameter(0)
  %i = s32[] parameter(1)
  %c = f32[1]{0} call(%x), to_apply=%always
  %a = ((f32[4]{0}), f32[4]{0}, s32[]) async-start(%x), calls=%meanwhile
  %d = f32[4]{0} async-done(%a)
  ROOT %r = f32[16]{0} conditional(%i, %x, %d), BRANCHES
}
"""


@pytest.mark.parametrize(
    "branches",
    ["branch_computations={%yes, %no}", "true_computation=%yes, false_computation=%no"],
)
def test_what_is_called_runs_and_every_branch_may(branches):
    assert count_collectives(parse_hlo(CALLED.replace("BRANCHES", branches)), 4) == {
        "all-gather": Collectives(1, 48, False),
        "all-reduce": Collectives(1, 24, False),
        "reduce-scatter": Collectives(1, 12, True),
        "all-to-all": Collectives(1, 12, True),
    }


def test_the_state_of_a_loop_is_no_traffic():
    # An iteration adds to the counter, 3 x 4 bytes, and gathers 16 bytes into fast memory.
    assert hbm_bytes(parse_hlo(looping({}))) == 5 * (12 + 16)
