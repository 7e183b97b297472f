"""Estimates from what people decided, with confidence intervals. Pure: no database, no clock, no random numbers.

    intervals       a share of a simple random sample; a total of a stratified sample
    misses          prevalence and recall from an audit sample
    sampling        how many items an audit takes from each stratum
    agreement       how far several people agree
    calibration     whether probabilities are true, and which threshold gives a wished precision or recall
    comparison      whether two models differ on the same items

Every interval has 95 % confidence. Each function names the source of its formula.
"""
