# The page on a CPU: docker build -t sprdiff . && docker run -p 7860:7860 -v sprdiff-cache:/home/sprdiff/.cache sprdiff
FROM python:3.11-slim

# torch first, from the index whose wheels hold no CUDA; a change of the code does not fetch it again.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.15,<2.16" "torchvision>=0.29.2,<0.30"

WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY sprdiff sprdiff
COPY checkpoints checkpoints
COPY assets assets
RUN pip install --no-cache-dir . && rm -rf /build

# The folder is made here because a new volume takes its owner from the image.
RUN useradd --create-home sprdiff && mkdir /home/sprdiff/.cache && chown sprdiff:sprdiff /home/sprdiff/.cache
USER sprdiff
WORKDIR /home/sprdiff
VOLUME /home/sprdiff/.cache

ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860
EXPOSE 7860
HEALTHCHECK --start-period=60s --timeout=10s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/config', timeout=5)"]
CMD ["sprdiff", "serve"]
