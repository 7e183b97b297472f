import pytest

from nightreel.orchestration.deployments.differences import differences


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"priority": 3}, {"priority": 1}, "priority 3 → 1"),
        ({"tags": ["a", "b"]}, {"tags": ["a"]}, "tags.1 b → nothing"),
        ({}, {"env": {"X": "1"}}, "env.X nothing → 1"),
        ({"limit": None}, {"limit": 2}, "limit nothing → 2"),
        ({"text": "a" * 100}, {"text": "b"}, f"text {'a' * 59}… → b"),
        ({f"k{n}": 0 for n in range(9)}, {f"k{n}": 1 for n in range(9)}, "and 3 more"),
    ],
)
def test_each_value_that_changes_is_shown_with_its_old_and_its_new_value(old, new, said):
    assert differences(old, new).endswith(said)
    assert bool(differences(old, new)) == bool(said)
