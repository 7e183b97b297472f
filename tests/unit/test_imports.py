import gc
import importlib.util
import subprocess
import sys

import pytest

from nightreel.imports import without_collection


@pytest.fixture(autouse=True)
def _unfreeze():
    yield
    gc.unfreeze()


def test_the_collector_is_off_during_the_imports_and_on_after_them():
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ImportError), without_collection():
        raise ImportError("no such library")
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_was_imported_is_not_looked_at_again():
    with without_collection():
        library = [[] for _ in range(1000)]
    assert not any(found is library for found in gc.get_objects())


def test_the_end_of_a_process_prints_nothing():
    program = (
        "from nightreel.imports import without_collection\nwith without_collection():\n    import triton._C.libtriton"
    )
    if importlib.util.find_spec("triton") is None:
        pytest.skip("this build of torch comes without triton")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout + ended.stderr == ""
