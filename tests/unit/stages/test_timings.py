from nightreel.stages.timings import StageTimings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_stage_is_busy_while_any_thread_is_in_it_and_overlap_is_counted_once():
    clock = Clock()
    timings = StageTimings(clock)
    clock.now = 1
    first = timings.stage("decode")
    first.__enter__()
    clock.now = 2
    second = timings.stage("decode")
    second.__enter__()
    clock.now = 3
    with timings.stage("model.vision"):
        clock.now = 5
    first.__exit__(None, None, None)
    clock.now = 6
    second.__exit__(None, None, None)
    with timings.stage("database"):
        clock.now = 9
    assert timings.report() == {
        "database": 3,
        "decode": 5,
        "model": 2,
        "model.vision": 2,
        "overlap": 2,
        "overhead": 4,
        "total": 9,
    }


def test_a_stage_that_raises_is_no_longer_busy():
    clock = Clock()
    timings = StageTimings(clock)
    try:
        with timings.stage("decode"):
            clock.now = 1
            raise ValueError
    except ValueError:
        clock.now = 5
    assert timings.report()["decode"] == 1
