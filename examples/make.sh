#!/usr/bin/env bash
# Renders examples/: a photo of a held-out subject, another person's clip, and the true answer.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
subject=200016 other=200012 motion=300002
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
clip() { # name, subject, motion
  "$python" -m mannequin clip --subject "$2" --motion "$3" --family showcase --frames 36 --fps 12 \
    --out-frames "$work/$1" --out-poses "$work/$1-poses"
}
clip photo "$subject" 300005
clip driving "$other" "$motion"
clip truth "$subject" "$motion"
cp "$work/photo/000000.png" examples/subject.png
for name in driving truth; do
  "$python" -m dreampose_core assemble --samples "$work/$name" --out "examples/$name.mp4" --crf 6
done
