"""Who somebody is: passwords, and the sessions of browsers.

passwords    hash, check, and what makes a password good enough
signing_in   from a name and a password to a session; slows attempts down
"""
