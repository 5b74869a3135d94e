"""Pure functions from arrays to numbers: confidence of decisions, calibration of confidences, intervals and tests of rates.

They read no file, keep no state and draw random numbers only from a seed. What cannot be known (a rate over nothing, an interval
from one clip) is ``None``, never a made-up number and never NaN, since the results go into JSON.
"""
