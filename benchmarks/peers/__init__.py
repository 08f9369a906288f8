"""Other libraries' environments beside ours (`python -m benchmarks throughput`).

Each is driven by a program of its own in a process of its own; theirs are run by an interpreter that has their packages
and not ours. So what the programs import, this file among it, imports nothing of this project but
`benchmarks.fanout_server`.
"""
