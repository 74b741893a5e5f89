"""Which steps in which order, and the `dreampose` command.

Reading order: order → prepare, personalize, animate → plan → reprocess → share, sharing → report
→ cli. Nothing here imports torch; only flows and their schedule import Prefect, and the command
imports them when there is work to do.
"""
