"""Thresholds: the accuracy and the cost that each gives, and how to pick one."""

from bcnet_keras.calibration.curve import (
    AccuracyCostCurve,
    Answers,
    OperatingPoint,
    answers,
    calibrate,
    curve,
    operating_point,
)

__all__ = ["AccuracyCostCurve", "Answers", "OperatingPoint", "answers", "calibrate", "curve", "operating_point"]
