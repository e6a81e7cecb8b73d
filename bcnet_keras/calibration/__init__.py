"""Thresholds: the accuracy and the cost that each gives, and how to pick one."""

from bcnet_keras.calibration.curve import AccuracyCostCurve, OperatingPoint, calibrate, curve, operating_point
from bcnet_keras.calibration.measures import Answers, answers, checked_images, class_numbers, logits

__all__ = [
    "AccuracyCostCurve",
    "Answers",
    "OperatingPoint",
    "answers",
    "calibrate",
    "checked_images",
    "class_numbers",
    "curve",
    "logits",
    "operating_point",
]
