"""Log records are one line with their context, and no message can imitate another record."""

from __future__ import annotations

import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from nightreel.logs import JsonFormatter, TextFormatter, log_context, set_up_command_logging, set_up_worker_logging
from nightreel.settings import Settings

HOSTILE = 'a"b\n{"level": "ERROR"}\r\x1b[31m\x7f\x85\u2028\u202e\udcff.mp4'


@pytest.fixture
def loggers():
    """The logger of the package; restores all loggers afterwards."""
    kept = [logging.getLogger(), logging.getLogger("nightreel"), logging.getLogger("nightreel.failures")]
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in kept]
    yield kept[1]
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def written(formatter: logging.Formatter, *, failing: bool = False) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("nightreel.test")
    logger.addHandler(handler)
    with log_context(run=7, video=HOSTILE), log_context(segment=2):
        if failing:
            try:
                raise ValueError(HOSTILE)
            except ValueError:
                logger.exception("broke")
        else:
            logger.warning("cannot read %s", HOSTILE)
    return stream.getvalue()


@pytest.mark.parametrize("failing", [False, True])
def test_a_json_record_is_one_line_of_ascii_for_any_message(failing):
    text = written(JsonFormatter(), failing=failing)
    assert text.isascii()
    assert [char for char in text if not char.isprintable()] == ["\n"]
    record = json.loads(text)
    assert (record["run"], record["segment"], record["level"]) == (7, 2, "ERROR" if failing else "WARNING")
    assert record["video"] == HOSTILE
    assert record["logger"] == "nightreel.test"
    if failing:
        assert record["exception"].endswith(f"ValueError: {HOSTILE}")
    else:
        assert record["message"] == f"cannot read {HOSTILE}"


def test_a_text_record_is_one_line_with_its_fields():
    text = written(TextFormatter())
    assert len(text.splitlines()) == 1
    assert [char for char in text if not char.isprintable()] == ["\n"]
    assert "run=7" in text
    assert "segment=2" in text


def test_no_line_of_an_exception_looks_like_a_record():
    first, *rest = written(TextFormatter(), failing=True).splitlines()
    assert "broke" in first
    assert rest
    assert all(line.startswith("  | ") for line in rest)


def test_fields_end_with_their_block_and_belong_to_their_thread():
    def fields() -> dict:
        record = logging.LogRecord("n", logging.INFO, "", 0, "m", (), None)
        values = json.loads(JsonFormatter().format(record))
        return {name: values[name] for name in ("run", "video") if name in values}

    def work(name: str) -> dict:
        with log_context(video=name):
            return fields()

    with log_context(run=1), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, "ab")) == [{"video": "a"}, {"video": "b"}]
        assert fields() == {"run": 1}
    assert fields() == {}


def test_a_terminal_hides_single_failures_and_a_log_collector_gets_all(loggers, capsys):
    terminal = logging.StreamHandler(io.StringIO())
    set_up_command_logging(Settings(log_format="text"), terminal=terminal)
    logging.getLogger("nightreel.failures").info("failed: no_index")
    logging.getLogger("nightreel.cache.eviction").warning("full")
    assert terminal.stream.getvalue() == "full\n"
    set_up_command_logging(Settings(log_format="json"), terminal=terminal)
    logging.getLogger("nightreel.failures").info("failed: no_index")
    assert json.loads(capsys.readouterr().err)["message"] == "failed: no_index"


@pytest.mark.filterwarnings("ignore:Logger .* attempted to send logs to the API:UserWarning")
def test_under_a_worker_the_console_writes_json_and_keeps_its_filters(loggers, capsys):
    root = logging.getLogger()
    console = logging.StreamHandler()
    console.addFilter(lambda record: record.name != "prefect.flow_runs")
    root.handlers[:] = [console]
    loggers.handlers[:], loggers.propagate = [], True
    set_up_worker_logging(Settings(log_format="json"))
    set_up_worker_logging(Settings(log_format="json"))
    logging.getLogger("nightreel.stages").info("ours")
    logging.getLogger("prefect").warning("theirs")
    logging.getLogger("prefect.flow_runs").warning("not for the console")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in lines] == ["ours", "theirs"]


def test_logging_set_up_by_a_command_is_kept(loggers):
    terminal = logging.StreamHandler(io.StringIO())
    set_up_command_logging(Settings(log_format="text"), terminal=terminal)
    root = list(logging.getLogger().handlers)
    set_up_worker_logging(Settings(log_format="text"))
    assert loggers.handlers == [terminal]
    assert logging.getLogger().handlers == root
