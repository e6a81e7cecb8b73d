"""Predictions against published latencies: the arithmetic of the table, and that what is committed holds."""

import published
import pytest
from test_cores import SOURCES

from bcnet_keras.device.boards import BOARDS


def _row(board, task, published_ms, low, high, engine="TFLM"):
    submission = published.Submission("v0", "someone", "system", engine, board, (1, 1, 1, 1))
    return published.Row(submission, task, published_ms, low, high)


def test_a_board_has_no_part_in_its_own_factor():
    rows = [_row("a", "ic", 20, 9, 11), _row("b", "ic", 30, 9, 11), _row("c", "ic", 40, 9, 11)]
    assert published.left_out_factor(rows, "a") == pytest.approx((3 * 4) ** 0.5)
    assert published.left_out_factor(rows, "c") == pytest.approx((2 * 3) ** 0.5)


def test_the_table_counts_what_it_shows():
    rows = [_row("a", "ic", 10, 9, 11), _row("b", "kws", 12, 9, 11), _row("b", "ad", 5, 9, 11, "ONNC")]
    text = published.report(rows)
    assert "1 of 2 published latencies lie within\n  the predicted range, 1 within 15 % of its middle" in text
    assert "1 of 3 published latencies" in text and "1.00 to 1.20 times the middle" in text


def test_committed_predictions_are_near_recent_engines():
    lines = (SOURCES / "bench" / "published.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| v")]
    assert len(cells) == len(published.SUBMISSIONS) * len(published.TASKS) == 20
    assert {row[2] for row in cells} <= set(BOARDS)
    recent = [float(row[6]) for row in cells if row[1] in published.RECENT]
    assert len(recent) == 12 and sum(abs(1 / factor - 1) <= published.NEAR for factor in recent) >= 0.8 * len(recent)
