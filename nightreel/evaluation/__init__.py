"""Evaluation before switching: models and prompt sets beside each other on videos whose right answers are known.

labels      read right answers from a file
grading     whether a verdict is right
asking      ask a candidate, a model with a prompt set, about all labelled videos
report      accuracy, precision, recall, calibration, cost, and which differences are significant
page        the report as a page
"""
