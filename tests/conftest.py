"""Eight fake CPU devices and strict broadcasting for every test. Must run before jax starts."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "")
    + " --xla_force_host_platform_device_count=8"
    # Tiny models: most of a test is compilation, so compile fast rather than well.
    + " --xla_backend_optimization_level=0"
)
# Each fake device waits for the others in a thread of XLA's pool. A pool of one thread a device
# leaves none for the work of a device that all wait for, or for a second program in flight: the
# rendezvous never ends and XLA aborts the process.
os.environ["NPROC"] = os.environ["PJRT_NPROC"] = "32"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import jax
import pytest
import tiny
from jax.experimental.compilation_cache import compilation_cache

jax.config.update("jax_numpy_rank_promotion", "raise")

TESTS = Path(__file__).parent
EXHAUSTIVE = TESTS / "exhaustive.txt"


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests that `EXHAUSTIVE` lists; an entry that its file lacks is an error."""
    lines = EXHAUSTIVE.read_text(encoding="utf-8").splitlines()
    entries = {line for line in lines if line and not line.startswith("#")}
    found, files = set(), set()
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        file = item.path.relative_to(TESTS).as_posix()
        files.add(file)
        name = f"{file}::{item.name}"
        listed = entries & {name, name.partition("[")[0]}
        if listed:
            found |= listed
            item.add_marker(pytest.mark.exhaustive)
            item.add_marker(pytest.mark.slow)
    whole = not any("::" in argument for argument in config.args)  # files are collected as a whole
    unknown = {entry for entry in entries - found if entry.partition("::")[0] in files}
    if whole and unknown:
        raise pytest.UsageError(f"{EXHAUSTIVE} lists {min(unknown)}, and there is no such test")


@pytest.fixture(scope="session")
def cache_of_the_session(tmp_path_factory):
    """Folder of compiled programs, one for each worker: jax's files do not appear whole."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def programs(cache_of_the_session):
    """Lets runs share their compiled programs, with those of other modules too; ``pytestmark``."""
    with tiny.compiled_programs(cache_of_the_session) as folder:
        yield folder


@pytest.fixture(autouse=True)
def compilation_cache_of_its_own():
    """Ends a cache of compiled programs that a command of the test has begun for the process."""
    before = jax.config.jax_compilation_cache_dir
    yield
    if jax.config.jax_compilation_cache_dir != before:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()


@pytest.fixture
def x64():
    """Run one test in float64."""
    with jax.enable_x64(True):
        yield
