# Two images, for CPUs and for NVIDIA GPUs; the second also has detectron2 in an environment of its own:
#   docker build --target cpu -t dreampose-studio .
#   docker build --target cuda -t dreampose-studio:cuda .
# One call on your own files; data/ lives and dies with the container unless a volume is mounted there:
#   docker run --rm --volume "$PWD:/files" dreampose-studio animate /files/me.jpg /files/dance.mp4 -o /files/out.mp4
# A service: compose.yaml.
FROM python:3.11-slim-bookworm AS base

RUN useradd --create-home --uid 1000 studio
WORKDIR /home/studio/app
RUN chown studio:studio .
USER 1000
ENV PATH=/home/studio/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
RUN python -m venv /home/studio/venv && mkdir /home/studio/workspaces /home/studio/store
HEALTHCHECK --interval=60s --timeout=20s CMD ["dreampose", "list"]
ENTRYPOINT ["dreampose"]
CMD ["--help"]

# DensePose by its own packages: docs/densepose.md. No operation of its network needs nvcc: on a GPU
# they are torchvision's.
FROM base AS detectron2
# hadolint ignore=DL3066
USER root
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ git && rm -rf /var/lib/apt/lists/*
USER 1000
ENV PATH=/home/studio/detectron2/bin:$PATH
RUN python3.11 -m venv /home/studio/detectron2 \
    && pip install --no-cache-dir torch==2.13.0 torchvision==0.28.0 setuptools==80.9.0 wheel==0.45.1 \
        av==18.1.0 scipy==1.17.1 opencv-python-headless==4.13.0.92 \
    && pip install --no-cache-dir --no-build-isolation "git+https://github.com/facebookresearch/detectron2@02b5c4e2" \
    && pip install --no-cache-dir --no-build-isolation --no-deps "git+https://github.com/facebookresearch/detectron2@02b5c4e2#subdirectory=projects/DensePose"

FROM base AS cuda
COPY --chown=studio requirements.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt
COPY --chown=studio --from=detectron2 /home/studio/detectron2 /home/studio/detectron2
ENV DREAMPOSE_DETECTRON2_PYTHON=/home/studio/detectron2/bin/python
COPY --chown=studio . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

FROM base AS cpu
COPY --chown=studio requirements.txt ./
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu --requirement requirements.txt
COPY --chown=studio . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .
