"""How time and memory grow: with the model, rows and their length, entries, members, devices, data.

    python -m experiments.growth [--axes model,length,batch,entries,members,devices,rows]
                                 [--rounds 5] [--json FILE] [--output FILE.png]
    python -m experiments.growth --from FILE --output FILE.png

Each axis is measured in a process of its own, one point after the other; every time has another
beside it that says what it is worth, the median of the same rounds. Times mean nothing beside other
work. All axes take about half an hour on two cores, ``rows`` half of that. Devices are those
that XLA makes of one host, so that their line shows what splitting costs, not what it saves.
"""
