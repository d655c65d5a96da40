"""Bytes that a compiled program sends, and bytes that it moves through HBM."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from mpjax.planning.collectives import Collectives, count_collectives
from mpjax.planning.hlo import parse_hlo
from mpjax.planning.traffic import hbm_bytes

FUSED = """
%scatter (p: f32[8,4]) -> f32[2,4] {
  %p = f32[8,4]{1,0} parameter(0)
  %all-reduce.1 = f32[8,4]{1,0} all-reduce(%p), replica_groups=[2,4]<=[8], to_apply=%sum
  ROOT %d = f32[2,4]{1,0} slice(%all-reduce.1), slice={[0:2], [0:4]}
}
ENTRY %main (x: f32[8,4]) -> f32[2,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %start = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%x), x=0
  %done = f32[8,4]{1,0} collective-permute-done(%start)
  %sum.1 = (f32[8,4]{1,0}, f32[8,4]{1,0}) all-reduce(%x, %done), replica_groups={}, to_apply=%sum
  ROOT %f = f32[2,4]{1,0} fusion(%x), kind=kCustom, calls=%scatter
}
"""


def test_every_kind_is_counted_once_with_what_a_device_sends():
    scattered = parse_hlo(FUSED.replace("%scatter", "%all-reduce-scatter"))
    found = count_collectives(scattered, 8)
    assert list(found) == ["all-reduce", "reduce-scatter", "collective-permute"]
    assert found["collective-permute"] == Collectives(1, 128)
    assert found["all-reduce"] == Collectives(1, 2 * 256 * 7 // 8)
    assert found["reduce-scatter"] == Collectives(1, 128 * 3 // 4)
    assert count_collectives(parse_hlo(FUSED), 8)["all-reduce"].count == 2


SLICED = """
%part (p0: f32[12,4], p1: s32[]) -> f32[1,4] {
  %p0 = f32[12,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  ROOT %d = f32[1,4]{1,0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={1,4}
}
ENTRY %main (x: f32[12,4], i: s32[]) -> f32[1,4] {
  %x = f32[12,4]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %fast = f32[12,4]{1,0:T(8,128)S(1)} copy(%x)
  ROOT %f = f32[1,4]{1,0} fusion(%x, %i), kind=kLoop, calls=%part
}
"""


def test_of_a_slice_its_own_bytes_count_and_of_fast_memory_none():
    copied, sliced = 12 * 4 * 4, 4 * 4 + 4 + 4 * 4  # read; read, index, written
    assert hbm_bytes(parse_hlo(SLICED)) == copied + sliced


def test_bytes_are_those_of_the_compilers_own_count_where_nothing_loops():
    def function(x, y):
        return jnp.tanh(x @ y), (x * 2).sum()

    x = jnp.ones((64, 32))
    compiled: Any = jax.jit(function).lower(x, x.T).compile()
    expected = compiled.cost_analysis()["bytes accessed"]
    assert hbm_bytes(parse_hlo(compiled.as_text())) == pytest.approx(expected, rel=0.02)


# A layer's part of x is multiplied into a, b is changed in place, both in fusions inside a fusion.
LAYER = """
%flat (p0: f32[12,4]) -> f32[12,4] {
  %p0 = f32[12,4]{1,0} parameter(0)
  %c = f32[12,4]{0,1} copy(%p0)
  ROOT %b = f32[12,4]{1,0} bitcast(%c)
}
%part (p0: f32[12,4], p1: s32[]) -> f32[4] {
  %p0 = f32[12,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %d = f32[1,4]{1,0} dynamic-slice(%p0, %p1), dynamic_slice_sizes={1,4}
  ROOT %b = f32[4]{0} bitcast(%d)
}
%change (p0: f32[12,4], p1: f32[1,4], p2: s32[]) -> f32[12,4] {
  %p0 = f32[12,4]{1,0} parameter(0)
  %p1 = f32[1,4]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  ROOT %u = f32[12,4]{1,0} dynamic-update-slice(%p0, %p1, %p2)
}
%layer (p0: f32[12,4], p1: s32[], p2: f32[12,4]) -> (f32[12,4], f32[1,4]) {
  %p0 = f32[12,4]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %p2 = f32[12,4]{1,0} parameter(2)
  %same = f32[12,4]{1,0} fusion(%p0), kind=kLoop, calls=%flat
  %x = f32[4]{0} fusion(%same, %p1), kind=kLoop, calls=%part
  %y = f32[1,4]{1,0} bitcast(%x)
  %z = f32[1,4]{1,0} multiply(%y, %y)
  %kept = f32[12,4]{1,0} fusion(%p2), kind=kLoop, calls=%flat
  %u = f32[12,4]{1,0} fusion(%kept, %z, %p1), kind=kLoop, calls=%change
  %v = f32[12,4]{1,0} bitcast(%u)
  ROOT %t = (f32[12,4]{1,0}, f32[1,4]{1,0}) tuple(%v, %z)
}
ENTRY %main (x: f32[12,4], i: s32[], b: f32[12,4]) -> (f32[12,4], f32[1,4]) {
  %x = f32[12,4]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %b = f32[12,4]{1,0} parameter(2)
  ROOT %f = (f32[12,4]{1,0}, f32[1,4]{1,0}) fusion(%x, %i, %b), kind=kOutput, calls=%layer
}
"""
ROW, ALL, INDEX = 4 * 4, 12 * 4 * 4, 4


@pytest.mark.parametrize("same", ["fusion(%p0), calls=%flat", "copy(%p0)", "bitcast(%p0)"])
def test_slices_and_updates_in_fusions_inside_a_fusion_count_their_own_bytes(same):
    read, written = ROW + INDEX, ROW + ROW
    text = LAYER.replace("fusion(%p0), kind=kLoop, calls=%flat", same)
    assert hbm_bytes(parse_hlo(text)) == read + written


@pytest.mark.parametrize(
    "reader",
    ["%y = f32[1,4]{1,0} reduce(%same)", "%y = f32[1,4]{1,0} fusion(%same), calls=%whole"],
)
def test_what_is_also_read_whole_counts_whole(reader):
    whole = (
        LAYER.replace("%y = f32[1,4]{1,0} bitcast(%x)", reader)
        + """
%whole (p0: f32[12,4]) -> f32[1,4] {
  %p0 = f32[12,4]{1,0} parameter(0)
  ROOT %r = f32[1,4]{1,0} reduce(%p0)
}
"""
    )
    assert hbm_bytes(parse_hlo(whole)) == (ALL + INDEX) + (ROW + ROW)


def test_a_fusion_that_only_copies_reads_and_writes_all():
    text = (
        LAYER[: LAYER.index("%part")]
        + """
ENTRY %main (x: f32[12,4]) -> f32[12,4] {
  %x = f32[12,4]{1,0} parameter(0)
  ROOT %f = f32[12,4]{1,0} fusion(%x), kind=kLoop, calls=%flat
}
"""
    )
    assert hbm_bytes(parse_hlo(text)) == ALL + ALL


STARTED = """
ENTRY %main (x: f32[12,4], i: s32[]) -> f32[12,4] {
  %x = f32[12,4]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %u = f32[1,4]{1,0} parameter(2)
  INSTRUCTION
}
"""
FAST = "{1,0:T(8,128)S(1)}"


@pytest.mark.parametrize(
    ("instruction", "moved"),
    [
        ("((f32[12,4]{1,0}), f32[2,4]{1,0}, s32[]{:S(2)}) slice-start(%x), slice={[0:2]}", 4 * ROW),
        (f"((f32[12,4]{{1,0}}), f32[2,4]{FAST}, s32[]{{:S(2)}}) slice-start(%x)", 2 * ROW),
        (f"f32[2,4]{FAST} dynamic-slice(%x, %i)", 2 * ROW + INDEX),
        (f"(f32[12,4]{FAST}, f32[12,4]{{1,0}}, u32[]{{:S(2)}}) copy-start(%x)", ALL),
        ("(f32[12,4]{1,0}, f32[24,4]{1,0}) all-gather-start(%x), replica_groups={}", 3 * ALL),
        ("((f32[12,4], f32[12,4]), (f32[24,4], f32[24,4])) all-gather-start(%x, %x)", 6 * ALL),
        ("f32[12,4]{1,0} all-reduce-start(%x), replica_groups={}, to_apply=%add", 2 * ALL),
        ("f32[12,4]{1,0} copy-done(%x)", 0),
        ('f32[12,4]{1,0} custom-call(), custom_call_target="AllocateBuffer"', 0),
        ('f32[12,4]{1,0} custom-call(%x, %x), custom_call_target="ConcatBitcast"', 0),
        ('f32[12,4]{1,0} custom-call(%x), custom_call_target="Kernel"', 2 * ALL),
        ("f32[12,4]{1,0} dynamic-update-slice(%x, %u, %i)", 2 * ROW + INDEX),
        (f"f32[12,4]{FAST} dynamic-update-slice(%x, %u, %i)", ROW + INDEX),
    ],
)
def test_what_one_instruction_moves(instruction, moved):
    assert hbm_bytes(parse_hlo(STARTED.replace("INSTRUCTION", f"ROOT %r = {instruction}"))) == moved


@pytest.mark.parametrize(
    ("body", "result", "moved"),
    [
        ("ROOT %g = f32[1,4]{1,0} gather(%p1, %p0)", "f32[1,4]{1,0}", ROW + ALL + ROW),
        ("ROOT %g = f32[1,4]{1,0} gather(%p0, %p0)", "f32[1,4]{1,0}", ALL + ROW),
        ("ROOT UPDATE", "f32[12,4]{1,0}", ROW + INDEX + ROW),
        ("ROOT UPDATE", f"f32[12,4]{FAST}", ROW + INDEX),
        ("UPDATE\n  ROOT %c = f32[12,4]{0,1} copy(%d)", "f32[12,4]{0,1}", ROW + INDEX + ALL),
        (
            "ROOT %c = (f32[12,4]{1,0}, f32[1,4]{1,0}) custom-call(%p0)",
            "(f32[12,4]{1,0}, f32[1,4]{1,0})",
            ALL + ALL + ROW,
        ),
    ],
)
def test_what_one_fusion_moves(body, result, moved):
    update = "%d = f32[12,4]{1,0} dynamic-update-slice(%p0, %p1, %p2)"
    text = f"""
%part (p0: f32[12,4], p1: f32[1,4], p2: s32[]) -> f32[12,4] {{
  %p0 = f32[12,4]{{1,0}} parameter(0)
  %p1 = f32[1,4]{{1,0}} parameter(1)
  %p2 = s32[] parameter(2)
  {body.replace("UPDATE", update)}
}}
"""
    fusion = f"ROOT %f = {result} fusion(%x, %u, %i), kind=kLoop, calls=%part"
    assert hbm_bytes(parse_hlo(text + STARTED.replace("INSTRUCTION", fusion))) == moved
