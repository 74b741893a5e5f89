"""One Prefect task per stage, and what a task needs: catalog, inputs, the bridge to DVC, lineage.

Reading order: graph → arguments → catalog → inputs → bridge → lineage → device → steps; inbox →
attempts; page, which makes the report of a render, and artifacts. Nothing here imports torch. The
current folder is the workspace (`workspace.find` says where it is).
"""
