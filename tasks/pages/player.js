"use strict";
const film = document.getElementById("film");
const canvases = [...document.querySelectorAll("canvas[data-x]")];
const { frames, rate } = JSON.parse(document.getElementById("clip").textContent);
const slider = document.getElementById("slider");
const counter = document.getElementById("counter");
const play = document.getElementById("play");
const cursors = [...document.querySelectorAll(".now")];
let shown = 0;

function draw(time) {
  shown = Math.min(frames - 1, Math.max(0, Math.round(time * rate)));
  for (const canvas of canvases) {
    const { width, height } = canvas;
    canvas.getContext("2d").drawImage(film, +canvas.dataset.x, 0, width, height, 0, 0, width, height);
  }
  slider.value = shown;
  counter.value = `frame ${shown + 1} of ${frames}`;
  for (const cursor of cursors) {
    const { left, right, first, last } = cursor.dataset;
    const share = (shown - first) / Math.max(1, last - first);
    const x = +left + share * (right - left);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }
}

function follow(_now, seen) {
  draw(seen.mediaTime);
  film.requestVideoFrameCallback(follow);
}

function go(frame) {
  film.pause();
  film.currentTime = ((frame + frames) % frames + 0.5) / rate;
}

if ("requestVideoFrameCallback" in film) {
  film.requestVideoFrameCallback(follow);
} else {
  for (const event of ["loadeddata", "timeupdate", "seeked"]) {
    film.addEventListener(event, () => draw(film.currentTime - 0.5 / rate));
  }
}
film.addEventListener("play", () => { play.textContent = "Pause"; });
film.addEventListener("pause", () => { play.textContent = "Play"; });
play.addEventListener("click", () => (film.paused ? film.play() : film.pause()));
document.getElementById("back").addEventListener("click", () => go(shown - 1));
document.getElementById("on").addEventListener("click", () => go(shown + 1));
slider.addEventListener("input", () => go(+slider.value));
document.getElementById("speed").addEventListener("change", (event) => {
  film.playbackRate = +event.target.value;
});
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  film.play().catch(() => {});
}
