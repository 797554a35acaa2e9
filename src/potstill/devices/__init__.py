"""What is known of devices, and what a model would cost on them.

`profiles/` holds a YAML file a device: facts, each with its status and source. `calibration.csv` holds published latencies, from which
the models of latency are fitted anew whenever they are asked (a profile of one's own brings its own rows); `memory.csv` what runtimes took on microcontrollers. A figure that rests
on these is "modelled", never measured. Nothing here runs a model: that is `verify`'s.
"""
