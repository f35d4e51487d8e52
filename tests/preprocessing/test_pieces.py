from __future__ import annotations

import numpy as np

from mnist_utils.preprocessing.pieces import find_rows, join


def bars(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (200, 300)) -> np.ndarray:
    """Fill boxes of (left, top, right, bottom) with ink."""
    ink = np.zeros(size, np.float32)
    for left, top, right, bottom in boxes:
        ink[top:bottom, left:right] = 1
    return ink


def test_an_empty_picture_has_no_rows() -> None:
    assert find_rows(np.zeros((50, 60), np.float32)) == ([], 0.0)


def test_pieces_come_in_reading_order_with_their_boxes() -> None:
    rows, usual = find_rows(bars((120, 20, 130, 60), (20, 22, 30, 62), (70, 120, 80, 160), (30, 121, 40, 161)))
    assert usual == 40
    assert [[piece.box for piece in row] for row in rows] == [
        [(19, 21, 31, 63), (119, 19, 131, 61)],  # with a pixel around, for soft edges
        [(29, 120, 41, 162), (69, 119, 81, 161)],
    ]


def test_a_sloping_row_is_one_row() -> None:
    rows, _ = find_rows(bars(*[(20 + 40 * n, 20 + 14 * n, 30 + 40 * n, 60 + 14 * n) for n in range(6)]))
    assert [len(row) for row in rows] == [6]


def test_parts_above_each_other_are_one_piece_and_specks_none() -> None:
    rows, _ = find_rows(bars((20, 20, 50, 28), (22, 34, 48, 60), (100, 20, 110, 60), (200, 40, 203, 43)))
    assert [[piece.box for piece in row] for row in rows] == [[(19, 19, 51, 61), (99, 19, 111, 61)]]


def test_what_touches_is_cut_where_it_is_thin() -> None:
    touching = bars((20, 20, 60, 80), (60, 48, 70, 54), (70, 20, 110, 80))
    (row,), _ = find_rows(touching)
    assert [piece.cut for piece in row][:2] == [False, True]
    assert any(60 <= piece.box[2] <= 70 for piece in row)
    whole = join(row)
    assert whole.box == (19, 19, 111, 81)
    np.testing.assert_array_equal(whole.ink, touching[19:81, 19:111])


def test_the_lines_of_a_table_are_no_piece() -> None:
    table = bars((10, 10, 290, 14), (10, 100, 290, 104), (10, 10, 14, 104), (286, 10, 290, 104), (150, 10, 153, 104))
    digits = bars((40, 30, 50, 80), (90, 30, 100, 80), (200, 30, 210, 80))
    (row,), usual = find_rows(np.maximum(table, digits))
    assert usual == 50
    assert [piece.box[0] for piece in row] == [39, 89, 199]
