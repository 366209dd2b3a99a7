// Values under the pointer. The page is complete without it.
(() => {
  "use strict";
  const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const format = {
    count: (v) => number.format(v),
    per_second: (v) => number.format(v) + "/s",
    percent: (v) => Math.round(v) + " %",
    ms: (v) => (v < 1 ? Math.round(v * 1000) + " µs" : v < 1000 ? number.format(v) + " ms" : number.format(v / 1000) + " s"),
    state: (v) => v,
    bytes: (v) => {
      const units = ["B", "KiB", "MiB", "GiB", "TiB"];
      let unit = 0;
      while (v >= 1024 && unit < units.length - 1) { v /= 1024; unit += 1; }
      return number.format(v) + " " + units[unit];
    },
  };
  const charts = [...document.querySelectorAll(".chart")].map((figure) => ({
    time: figure.hasAttribute("data-time"),
    area: figure.querySelector(".area"),
    cursor: figure.querySelector(".cursor"),
    tip: figure.querySelector(".tip"),
    data: JSON.parse(figure.querySelector("script").textContent),
  }));
  for (const chart of charts) chart.few = chart.data.lines.length < 6 || chart.data.lines.some((line) => line.quantity === "state");
  const state = (word) => (["healthy", "degraded", "draining"].includes(word) ? word : "unreachable");
  const nearest = (at, x) => {
    let low = 0, high = at.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (at[middle] < x) low = middle + 1; else high = middle;
    }
    return low > 0 && x - at[low - 1] < at[low] - x ? low - 1 : low;
  };
  const element = (name, text, className) => {
    const it = document.createElement(name);
    if (text !== undefined) it.textContent = text;
    if (className) it.className = className;
    return it;
  };
  const show = (chart, x, withTip) => {
    const index = nearest(chart.data.at, x);
    const at = chart.data.at[index];
    chart.cursor.hidden = false;
    chart.cursor.style.left = at * 100 + "%";
    if (!withTip) return;
    const rows = chart.data.lines
      .filter((line) => line.values[index] !== null && (chart.few || line.values[index] > 0))
      .map((line) => {
        const row = element("div");
        const swatch = element("i", "", line.quantity === "state" ? state(line.values[index]) : "c" + line.colour);
        swatch.style.opacity = line.strength;
        row.append(swatch, element("span", line.name), element("span", format[line.quantity](line.values[index])));
        return row;
      });
    chart.tip.replaceChildren(element("b", chart.data.words[index]), ...(rows.length ? rows : [element("div", "nothing")]));
    chart.tip.hidden = false;
    if (at < 0.5) { chart.tip.style.left = `calc(${at * 100}% + 10px)`; chart.tip.style.right = "auto"; }
    else { chart.tip.style.right = `calc(${(1 - at) * 100}% + 10px)`; chart.tip.style.left = "auto"; }
  };
  const hide = () => charts.forEach((chart) => { chart.cursor.hidden = true; chart.tip.hidden = true; });
  for (const chart of charts) {
    chart.area.addEventListener("pointermove", (event) => {
      const box = chart.area.getBoundingClientRect();
      const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      hide();
      if (chart.time) charts.filter((it) => it.time && it !== chart).forEach((it) => show(it, x, false));
      show(chart, x, true);
    });
    chart.area.addEventListener("pointerleave", hide);
  }
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
})();
