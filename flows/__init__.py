"""Which steps in which order, and the `dreampose` command.

Reading order: order → prepare, personalize, animate → report → cli. Nothing here imports torch;
only the three flows import Prefect, and the command imports them when there is work to do.
"""
