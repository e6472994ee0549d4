"use strict";
// Charts and the wallet's choice; everything else is HTML from the server, kept up to date by htmx.

const LAMPORTS_PER_SOL = 1e9;
const REFRESH_MILLISECONDS = 2000;
const HEIGHT = 240;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axis(extra) {
  return Object.assign({ stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } }, extra);
}

// Hours where a day or two is shown, days beyond; the plotting library's own labels are American.
function moments(_, seconds) {
  const days = seconds.at(-1) - seconds[0] > 2 * 86400;
  const two = (value) => String(value).padStart(2, "0");
  return seconds.map((second) => {
    const date = new Date(second * 1000);
    if (days) return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
    return `${two(date.getHours())}:${two(date.getMinutes())}` + (second % 60 ? `:${two(date.getSeconds())}` : "");
  });
}

const KINDS = {
  curves: {
    options: () => ({
      scales: { x: { time: false }, loss: { range: (_, low, high) => [0, (high || 1) * 1.05] }, accuracy: { range: [0, 100] } },
      axes: [axis({ label: "optimizer step", labelSize: 20 }), axis({ scale: "loss" }), axis({ scale: "accuracy", side: 1, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => tick + " %"), size: 60 })],
      series: [
        { label: "Step" },
        { label: "Loss", scale: "loss", stroke: colour("--loss"), width: 1.5, value: (_, value) => (value === null || value === undefined ? "–" : value.toFixed(3)) },
        { label: "Accuracy", scale: "accuracy", stroke: colour("--accuracy"), width: 1.5, points: { show: true, size: 7 }, value: (_, value) => (value === null || value === undefined ? "–" : value.toFixed(1) + " %") },
      ],
    }),
    data(body) {
      const loss = new Map(body.loss), accuracy = new Map(body.accuracy);
      const steps = [...new Set([...loss.keys(), ...accuracy.keys()])].sort((a, b) => a - b);
      // undefined (no value here) is joined over, null would be a gap.
      return [steps, steps.map((step) => loss.get(step)), steps.map((step) => (accuracy.has(step) ? accuracy.get(step) * 100 : undefined))];
    },
    words(body) {
      const loss = body.loss.at(-1), accuracy = body.accuracy.at(-1);
      const parts = [];
      if (loss) parts.push(`loss ${loss[1].toFixed(3)} at step ${loss[0]}`);
      if (accuracy) parts.push(`accuracy ${(accuracy[1] * 100).toFixed(1)} % at step ${accuracy[0]}`);
      return parts.length ? `Training curves: ${parts.join(", ")}` : "";
    },
  },
  earnings: {
    options: () => ({
      // One claim, or several at once, would otherwise lie in a span of years.
      scales: {
        x: { range: (_, low, high) => (high - low < 600 ? [low - 300, high + 300] : [low, high]) },
        y: { range: (_, low, high) => [0, (high || 1) * 1.05] },
      },
      axes: [axis({ values: moments, space: 90 }), axis({ size: 70, values: (_, ticks) => ticks.map((tick) => tick + " SOL") })],
      series: [
        { label: "Time", value: (_, second) => (second === null || second === undefined ? "–" : new Date(second * 1000).toLocaleString("sv")) },
        { label: "Earned", stroke: colour("--good"), width: 1.5, paths: uPlot.paths.stepped({ align: 1 }), points: { show: true, size: 5 }, value: (_, value) => (value === null || value === undefined ? "–" : value + " SOL") },
      ],
    }),
    data: (body) => [body.x, body.lamports.map((lamports) => lamports / LAMPORTS_PER_SOL)],
    words: (body) => (body.x.length ? `Earned over time: ${body.lamports.at(-1) / LAMPORTS_PER_SOL} SOL in all` : ""),
  },
};

class Chart {
  constructor(element) {
    this.element = element;
    this.kind = KINDS[element.dataset.chart];
    this.plot = null;
    this.text = "";
    new ResizeObserver(() => this.plot && this.plot.setSize({ width: element.clientWidth, height: HEIGHT })).observe(element);
  }

  // A chart may follow the round that the page says is at work.
  url() {
    const leader = this.element.dataset.follow;
    if (!leader) return this.element.dataset.url;
    const round = document.querySelector(leader)?.dataset.round;
    const title = this.element.parentElement.querySelector("[data-chart-title]");
    if (title) title.textContent = round === undefined ? "" : `of round ${round}`;
    if (round === undefined) return null;
    const owner = this.element.dataset.owner;
    return `/data/rounds/${round}` + (owner ? `?owner=${encodeURIComponent(owner)}` : "");
  }

  async refresh() {
    const url = this.url();
    if (!url) return this.empty();
    let text;
    try {
      const answer = await fetch(url);
      if (!answer.ok) return;
      text = await answer.text();
    } catch {
      return; // the server is gone; what was drawn stays
    }
    if (text !== this.text) this.draw(text);
  }

  draw(text) {
    this.text = text;
    const body = JSON.parse(text), data = this.kind.data(body), words = this.kind.words(body);
    if (!words) return this.empty();
    this.element.setAttribute("aria-label", words);
    if (this.plot) return this.plot.setData(data);
    this.element.replaceChildren();
    this.plot = new uPlot({ ...this.kind.options(), width: this.element.clientWidth, height: HEIGHT }, data, this.element);
  }

  empty() {
    if (this.plot) this.plot.destroy();
    this.plot = null;
    const note = document.createElement("p");
    note.className = "none";
    note.textContent = "Nothing to draw yet.";
    this.element.replaceChildren(note);
  }

  repaint() {
    if (!this.plot) return;
    this.plot.destroy();
    this.plot = null;
    this.draw(this.text);
  }
}

const charts = [...document.querySelectorAll("[data-chart]")].map((element) => new Chart(element));
const refresh = () => document.hidden || charts.forEach((chart) => chart.refresh());
if (charts.length) {
  refresh();
  setInterval(refresh, REFRESH_MILLISECONDS);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.repaint()));
}
document.querySelectorAll("[data-submit]").forEach((field) => field.addEventListener("change", () => field.form.submit()));
