"""How time and memory grow: with the model, rows and their length, entries, members, devices, data.

    python -m experiments.growth [--axes model,length,batch,entries,members,devices,rows]
                                 [--rounds 5] [--json FILE] [--output FILE.png]
    python -m experiments.growth --from FILE --output FILE.png

Each point is measured in a process of its own; every time has another beside it that says what
it is worth, medians of as many rounds in turn (``rows``: once). GB are those of a step or a
selection by XLA's count, of one device on several, and for ``rows`` the peak of anonymous memory. A
point for which memory is short is left out, which is said. Times mean nothing beside other work.
All axes take about 45 minutes on two cores. Devices are those that XLA makes of one host, so that
their line shows what splitting costs, not what it saves.
"""
