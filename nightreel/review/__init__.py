"""Review: people judge what the machine flags, is unsure of, or failed at.

    queue_file.py   the queues, from YAML
    access.py       who may do what with which case
    desk.py         take, extend, release, skip, hold, assign
    showing.py      a case as a person sees it;  scenes.py: the captions and contact sheets of its video
    deciding.py     decide and appeal
    undoing.py      undo a batch of decisions
    bulk.py         decide over a filter
    history.py      what happened to a case
    disagreeing.py  what several people said of a case, side by side
    exposure.py     when a person should take a break
    pace.py         how much is decided, and how long it takes
    calibrating.py  whether probabilities are true, by what people decided
    golden.py       items of which the right decision is known
    auditing.py     what audits say
    agreement.py    how far people agree, with each other and with golden items
    threshold_change.py    a threshold that an audit proposes, as a change of a prompt set

The terminal and the web service call it, with a connection of the role nightreel_worker or nightreel_console. A case is
made and changed by the transactions that write verdicts (database.cases); this package only adds decisions and events,
and changes locks.
"""
