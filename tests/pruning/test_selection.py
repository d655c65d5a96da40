"""Selection by counting against a stable sort in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpjax.pruning import num_kept, ordered_keys, top_k_cuts, top_k_masks
from mpjax.pruning.topk import masks
from mpjax.pruning.topk.counting import count_true

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
TINY = np.finfo(np.float32).smallest_subnormal
INPUTS = {
    "random": RNG.normal(size=(37, 53)),
    "tied": RNG.integers(-3, 4, size=(40, 31)).astype(float),
    "constant": np.full((9, 7), -2.5),
    "negative": -np.abs(RNG.normal(size=(64, 5))),
    "denormal": TINY * RNG.integers(-50, 50, size=(23, 11)),
    "signed zeros": np.where(RNG.random((13, 17)) < 0.5, 0.0, -0.0),
    "zeros and values": np.where(RNG.random((19, 8)) < 0.5, -0.0, RNG.normal(size=(19, 8))),
    "wide range": RNG.normal(size=(31, 31)) * 10.0 ** RNG.integers(-30, 30, size=(31, 31)),
    "infinite": np.where(RNG.random((6, 6)) < 0.3, np.inf, RNG.normal(size=(6, 6))),
    "vector": RNG.normal(size=101),
    "three axes": RNG.normal(size=(3, 4, 5)),
    "one": np.array([[1.0]]),
    # Large enough for a sample: entries of even rows and of every third column.
    "sampled": RNG.normal(size=(64, 96)),
    "sampled and tied": RNG.integers(-3, 4, size=(64, 96)).astype(float),
    "sample too high": RNG.normal(size=(64, 96)),
    "sample too low": RNG.normal(size=(64, 96)),
    "sampled and huge": RNG.uniform(2e38, 3e38, size=(64, 96)),
    "sample alike": RNG.normal(size=(64, 96)),
}
INPUTS["sample too high"][::2, ::3] += 1e6
INPUTS["sample too low"][::2, ::3] -= 1e6
INPUTS["sample alike"][::2, ::3] = 0.25


def oracle(arrays: list[np.ndarray], count: int) -> list[np.ndarray]:
    """Descending stable sort: ties go to the lowest flat index."""
    flat = np.concatenate([a.ravel() for a in arrays])
    mask = np.zeros(flat.size, bool)
    mask[np.argsort(-flat, kind="stable")[:count]] = True
    ends = np.cumsum([a.size for a in arrays])[:-1]
    return [m.reshape(a.shape) for m, a in zip(np.split(mask, ends), arrays, strict=True)]


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equals_stable_sort(name, dtype):
    with jax.enable_x64(dtype is np.float64):
        x = INPUTS[name].astype(dtype)
        select = jax.jit(lambda x, k: top_k_masks([x], [k])[0])
        for count in sorted({0, 1, x.size // 10, x.size // 2, x.size - 1, x.size}):
            mask = np.asarray(select(jnp.asarray(x), count))
            assert mask.sum() == count
            np.testing.assert_array_equal(mask, oracle([x], count)[0], err_msg=f"k={count}")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_joint_equals_stable_sort_of_all(dtype):
    with jax.enable_x64(dtype is np.float64):
        arrays = [a.astype(dtype) for a in INPUTS.values()]
        total = sum(a.size for a in arrays)
        select = jax.jit(lambda xs, k: top_k_masks(xs, [k], joint=True))
        for count in (0, 1, 7, total // 10, total // 2, total - 1, total):
            masks = select([jnp.asarray(a) for a in arrays], count)
            for mask, expected in zip(masks, oracle(arrays, count), strict=True):
                np.testing.assert_array_equal(mask, expected)


@pytest.mark.slow
def test_joint_ties_go_to_the_first_arrays():
    arrays = [np.ones((2, 3)), np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 2.0]]), np.ones((4, 1))]
    for count in range(2, 15):
        masks = top_k_masks([jnp.asarray(a, jnp.float32) for a in arrays], [count], joint=True)
        for mask, expected in zip(masks, oracle(arrays, count), strict=True):
            np.testing.assert_array_equal(mask, expected, err_msg=f"k={count}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_joint_tells_neighbouring_numbers_apart(dtype):
    with jax.enable_x64(dtype is np.float64):
        numbers = 1 + RNG.permutation(600).astype(dtype) * np.finfo(dtype).eps
        arrays = [numbers[:200].reshape(10, 20), numbers[200:].reshape(20, 20)]
        select = jax.jit(lambda xs, k: top_k_masks(xs, [k], joint=True))
        for count in (1, 299, 300, 301):
            masks = select([jnp.asarray(a) for a in arrays], count)
            for mask, expected in zip(masks, oracle(arrays, count), strict=True):
                np.testing.assert_array_equal(mask, expected)


@pytest.mark.slow
def test_many_matrices_share_a_loop_and_keep_their_own_counts():
    arrays = [a.astype(np.float32) for a in INPUTS.values()]
    counts = [a.size // 3 for a in arrays]
    masks = top_k_masks([jnp.asarray(a) for a in arrays], counts)
    for mask, array, count in zip(masks, arrays, counts, strict=True):
        np.testing.assert_array_equal(mask, oracle([array], count)[0])
    text = str(jax.make_jaxpr(lambda xs: top_k_masks(xs, counts))(arrays))
    assert "sort[" not in text and "top_k" not in text
    assert text.count("while[") == 2  # over bytes, and in it over their bits


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_on_one_cpu_device_each_matrix_has_loops_of_its_own(dtype, monkeypatch):
    """Masks and cuts are those of loops that all share, to the bit."""
    with jax.enable_x64(dtype is np.float64):
        arrays = [jnp.asarray(a, dtype) for a in INPUTS.values()]
        counts = [a.size // 3 for a in arrays]
        densities = jnp.asarray([0.0, 0.1, 0.97, 1.0], dtype)

        def select(xs, density):
            traced = [num_kept(density, x.size) for x in xs]
            return top_k_masks(xs, traced), top_k_cuts(xs, traced)

        def loops(platform):
            traced = jax.jit(lambda xs: top_k_masks(xs, counts)).trace(arrays)
            return traced.lower(lowering_platforms=(platform,)).as_text().count("stablehlo.while")

        members = jax.vmap(select, in_axes=(None, 0))
        shared, shared_loops = jax.jit(members)(arrays, densities), loops("cpu")
        jax.clear_caches()
        monkeypatch.setattr(jax, "device_count", lambda: 1)
        own, own_loops = jax.jit(members)(arrays, densities), loops("cpu")
        accelerator_loops = loops("tpu")
        masks = top_k_masks(arrays, counts)
        jax.clear_caches()
    jax.tree.map(np.testing.assert_array_equal, own, shared)
    for mask, array, count in zip(masks, arrays, counts, strict=True):
        np.testing.assert_array_equal(mask, oracle([np.asarray(array)], count)[0])
    assert own_loops > shared_loops == accelerator_loops


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_above_the_cut_lies_what_a_sort_puts_above_it(name, dtype):
    with jax.enable_x64(dtype is np.float64):
        x = INPUTS[name].astype(dtype)
        falling = np.sort(x.ravel())[::-1]
        cut_of = jax.jit(lambda x, k: top_k_cuts([x], [k])[0])
        for count in sorted({0, 1, x.size // 10, x.size // 2, x.size - 1, x.size}):
            above = x > np.asarray(cut_of(jnp.asarray(x), count))
            tied = 0 < count < x.size and falling[count - 1] == falling[count]
            expected = x > falling[count - 1] if tied else oracle([x], count)[0]
            np.testing.assert_array_equal(above, expected, err_msg=f"k={count}")


def test_joint_cut_is_one_value():
    arrays = [jnp.asarray(INPUTS[name], jnp.float32) for name in ("random", "tied")]
    cuts = top_k_cuts(arrays, [500], joint=True)
    assert len(cuts) == 2 and float(cuts[0]) == float(cuts[1])
    everything = np.sort(np.concatenate([np.ravel(a) for a in arrays]))[::-1]
    expected = (everything > float(cuts[0])).sum()
    assert expected == sum(int((a > c).sum()) for a, c in zip(arrays, cuts, strict=True)) <= 500


@pytest.mark.slow
def test_under_vmap_with_a_density_per_member():
    x = jnp.asarray(RNG.normal(size=(4, 12, 9)), jnp.float32)
    counts = jnp.array([3, 50, 0, 108])
    masks = jax.vmap(lambda x, k: top_k_masks([x], [k])[0])(x, counts)
    for mask, row, count in zip(masks, np.asarray(x), counts, strict=True):
        np.testing.assert_array_equal(mask, oracle([row], int(count))[0])


def test_what_is_no_number_comes_first():
    # From 1.7e38 over infinity to the last bit pattern with a positive sign.
    bits = RNG.integers(0x7F000000, 0x80000000, size=(64, 96)).astype(np.uint32)
    x = bits.view(np.float32)
    select = jax.jit(lambda x, k: top_k_masks([x], [k])[0])
    for count in (0, 1, 10, 300, 3000, 6000, 6144):
        mask = np.asarray(select(jnp.asarray(x), count))
        np.testing.assert_array_equal(mask, oracle([bits.astype(np.float64)], count)[0])


def test_counts_are_exact_where_float32_is_not():
    assert int(count_true(jnp.ones((4097, 4097), bool))) == 4097**2  # odd, above 2**24


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_keys_keep_the_order(dtype):
    values = jnp.sort(jnp.asarray(RNG.normal(size=500) * 10.0 ** RNG.integers(-6, 4, 500), dtype))
    keys = np.asarray(ordered_keys(values))
    np.testing.assert_array_equal(np.diff(np.asarray(values, np.float64)) > 0, np.diff(keys) > 0)


def test_num_kept_is_python_int_of_the_product():
    for density in (0.03, 0.1, 0.15, 0.29, 0.57, 1.0):
        for size in (100, 3200, 589_824, 2_359_296, 84_934_656):
            exact = int(density * size)
            assert num_kept(density, size) == exact
            traced = jax.jit(lambda v, n=size, d=density: num_kept(v, n, final=d))
            assert int(traced(jnp.float32(density))) == exact


@pytest.mark.parametrize("joint", [False, True])
def test_arrays_without_entries_have_masks_without_entries(joint):
    full = jnp.asarray(INPUTS["tied"])
    arrays = [jnp.ones((0, 3)), full, jnp.ones(0)]
    counts = [100] if joint else [2, 100, 0]
    first, mask, last = top_k_masks(arrays, counts, joint=joint)
    assert (first.shape, last.shape, first.dtype) == ((0, 3), (0,), bool)
    np.testing.assert_array_equal(mask, oracle([INPUTS["tied"]], 100)[0])
    cuts = top_k_cuts(arrays, counts, joint=joint)
    assert [cuts[0], cuts[2]] == [-jnp.inf] * 2
    assert cuts[1] == top_k_cuts([full], [100])[0]
    alone = top_k_masks(arrays[:1], [1], joint=joint)
    assert [mask.shape for mask in alone] == [(0, 3)]


def test_bad_groups_are_refused():
    with pytest.raises(ValueError, match="1 groups of arrays but 2 counts"):
        top_k_masks([jnp.ones(3)], [1, 2])


def test_calls_outside_of_jit_compile_once():
    """The loops of a selection are closures, which JAX would compile at every call."""
    scores = [jnp.asarray(np.random.default_rng(i).normal(size=(13, 17))) for i in range(3)]
    top_k_masks(scores[:1], [5], joint=False)
    compiled = masks._masks._cache_size()
    for score in scores[1:]:
        top_k_masks([score], [5], joint=False)
    assert compiled > 0 and masks._masks._cache_size() == compiled
