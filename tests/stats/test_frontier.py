"""The Pareto front, its hypervolume and its knee, by hand and by their definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrm.records.point import Budget, Interval, Point
from lrm.stats.frontier import area, history, hypervolume, knee, nondominated, pareto, volume


def point(accuracy: float, tokens: float, sparsity: float = 0.0) -> Point:
    return Point(
        sparsity,
        sparsity,
        Budget(8),
        Interval(accuracy, accuracy, accuracy),
        Interval(tokens, tokens, tokens),
        "run",
    )


def test_front_keeps_what_nobody_beats() -> None:
    best, cheap, beaten = point(0.9, 100), point(0.5, 20), point(0.5, 30)
    assert pareto([beaten, best, cheap, point(0.2, 100)]) == [cheap, best]


def test_of_equal_points_the_sparser_stays() -> None:
    assert pareto([point(0.5, 20, 0.1), point(0.5, 20, 0.4)]) == [point(0.5, 20, 0.4)]


def test_hypervolume_by_hand() -> None:
    points = [point(0.5, 20), point(0.9, 100), point(0.95, 900)]
    assert hypervolume(points, 200) == pytest.approx(0.5 * 80 + 0.9 * 100)
    assert hypervolume([], 200) == 0


def test_three_costs_keep_what_is_smaller() -> None:
    accuracy, tokens, size = [0.9, 0.9, 0.5, 0.9], [100, 100, 100, 90], [8, 4, 2, 16]
    assert nondominated(accuracy, tokens) == [3]
    assert sorted(nondominated(accuracy, tokens, size)) == [1, 2, 3]
    assert nondominated([0.5, 0.5], [3, 3]) == [0]  # of equal points the first stays


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=12))
def test_the_front_is_what_the_definition_says(points: list[tuple[int, int, int]]) -> None:
    def beats(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return one[0] >= other[0] and one[1] <= other[1] and one[2] <= other[2] and one != other

    expected = {point for point in points if not any(beats(other, point) for other in points)}
    front = [points[i] for i in nondominated(*zip(*points, strict=True))]
    assert set(front) == expected
    assert len(front) == len(expected)


@given(st.lists(st.tuples(*[st.integers(0, 5)] * 3), max_size=8))
def test_volumes_count_the_cells_below(points: list[tuple[int, int, int]]) -> None:
    """Every unit cell up to (0, 5, 5) that some point dominates."""
    gains, costs, sizes = zip(*points, strict=True) if points else ((), (), ())
    cells = [
        (a, t, s)
        for a in range(5)
        for t in range(5)
        for s in range(5)
        if any(p[0] > a and p[1] <= t and p[2] <= s for p in points)
    ]
    assert volume(gains, costs, sizes, 5, 5) == pytest.approx(len(cells))
    flat = {
        (a, t) for a in range(5) for t in range(5) if any(p[0] > a and p[1] <= t for p in points)
    }
    assert area(gains, costs, 5) == pytest.approx(len(flat))


def test_history_never_falls_and_ends_at_the_whole() -> None:
    accuracy, tokens = [0.2, 0.9, 0.5, 0.9], [50, 100, 20, 80]
    areas = history(accuracy, tokens, 200)
    assert areas == sorted(areas)
    assert areas[0] == pytest.approx(0.2 * 150)
    assert areas[-1] == area(accuracy, tokens, 200)


def test_the_knee_is_farthest_above_the_chord() -> None:
    assert knee([0.0, 0.8, 0.9, 1.0], [0, 10, 60, 100]) == 1
    assert knee([0.9, 0.0, 1.0, 0.8], [60, 0, 100, 10]) == 3  # whatever the order
    assert knee([0.0, 0.5, 1.0], [0, 50, 100]) is None  # straight
    assert knee([0.0, 0.1, 1.0], [0, 50, 100]) is None  # bends the other way
    assert knee([0.5, 0.9], [1, 2]) is None
