# CPU image. Your files and results live in a mounted folder:
#   docker build -t dreampose-studio .
#   docker run --rm -v "$PWD:/files" dreampose-studio animate /files/me.jpg /files/dance.mp4 -o /files/out.mp4
FROM python:3.11-slim

RUN useradd --create-home studio
WORKDIR /home/studio/app
RUN chown studio:studio .
USER studio
ENV PATH=/home/studio/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1

COPY --chown=studio requirements.txt ./
RUN python -m venv /home/studio/venv && pip install --no-cache-dir --requirement requirements.txt

COPY --chown=studio . .
RUN pip install --no-deps --no-build-isolation --editable .

ENTRYPOINT ["dreampose"]
CMD ["--help"]
