"use strict";
// The reliability diagram of the page: plain SVG; the choices above it say what is drawn, the slider which bin is told.
for (const chart of document.querySelectorAll(".chart")) {
  const facts = JSON.parse(chart.querySelector("script").textContent);
  const hidden = new Set();
  const SIZE = 420, LEFT = 52, TOP = 10, STRIP = 60, BOTTOM = 118;
  const x = (p) => LEFT + p * SIZE, y = (p) => TOP + (1 - p) * SIZE;
  const element = (name, attributes = {}, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text) made.textContent = text;
    return made;
  };
  const choices = {};
  const bar = document.createElement("div");
  bar.className = "tools";
  for (const [key, words] of [["data", "Data set"], ["view", "View"], ["region", "Region"], ["channel", "Class"]]) {
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.append(words, select);
    bar.append(label);
    choices[key] = select;
    select.addEventListener("change", () => refresh(key));
  }
  const fill = (select, entries) => {
    const before = select.value;
    select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
    if (entries.some(([value]) => value === before)) select.value = before;
    select.parentElement.hidden = entries.length < 2;
  };
  const drawing = document.createElement("div");
  drawing.className = "figures";
  const svg = element("svg", { viewBox: `0 0 ${LEFT + SIZE + 16} ${TOP + SIZE + BOTTOM}`, role: "img",
    "aria-label": "Observed frequency against confidence", class: "reliability" });
  const side = document.createElement("div");
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, value: 0 });
  const told = document.createElement("label");
  told.append("Bin ", slider);
  const table = document.createElement("table");
  side.append(told, table);
  drawing.append(svg, side);
  chart.append(bar, drawing);
  const part = () => facts.bins[choices.data.value][`${choices.region.value}.${choices.view.value}`];
  const every = () => Object.entries(part().methods).map(([method, channels]) => [method, channels[Number(choices.channel.value)]]);
  const rows = () => every().filter(([method]) => !gone(`${method}\t${choices.data.value}`));
  function refresh(changed) {
    const keys = Object.keys(facts.bins[choices.data.value]);
    const views = Object.keys(facts.views).filter((view) => keys.some((key) => key.endsWith(`.${view}`)));
    if (changed === "data") fill(choices.view, views.map((view) => [view, facts.views[view]]));
    const regions = keys.filter((key) => key.endsWith(`.${choices.view.value}`)).map((key) => key.split(".")[0]);
    if (changed !== "region" && changed !== "channel") fill(choices.region, regions.map((name) => [name, name.replaceAll("_", " ")]));
    if (changed !== "channel") fill(choices.channel, part().channels.map((name, index) => [String(index), name || "all"]));
    draw();
  }
  function axes() {
    svg.append(element("rect", { x: LEFT, y: TOP, width: SIZE, height: SIZE, class: "frame" }));
    svg.append(element("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "diagonal" }));
    for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
      svg.append(element("text", { x: x(tick), y: y(0) + 18, "text-anchor": "middle" }, String(tick)));
      svg.append(element("text", { x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
    }
    const middle = TOP + SIZE / 2;
    svg.append(element("text", { x: x(0.5), y: y(0) + 36, "text-anchor": "middle" }, facts.views[choices.view.value]));
    svg.append(element("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, "observed frequency"));
    svg.append(element("text", { x: LEFT, y: TOP + SIZE + BOTTOM - 2 }, "share of voxels in the bin, square root scale"));
  }
  function draw() {
    svg.replaceChildren();
    axes();
    const shown = rows().filter(([method]) => !hidden.has(method));
    const count = every()[0][1].length;
    if (Number(slider.max) !== count - 1) { slider.max = count - 1; slider.value = count - 1; }  // most voxels lie in the last bin
    const floor = TOP + SIZE + BOTTOM - 16;
    shown.forEach(([method, bins], index) => {
      const colour = facts.colours[method];
      const filled = bins.filter(([n]) => n);
      const total = filled.reduce((sum, [n]) => sum + n, 0);
      svg.append(element("polyline", { points: filled.map(([, p, f]) => `${x(p)},${y(f)}`).join(" "), fill: "none", stroke: colour, "stroke-width": 2 }));
      bins.forEach(([n, p, f], bin) => {
        if (!n) return;
        const dot = element("circle", { cx: x(p), cy: y(f), r: 3 + 5 * Math.sqrt(n / total), fill: colour, "fill-opacity": 0.75 });
        dot.append(element("title", {}, `${method}: ${n.toLocaleString("en")} voxels, says ${p.toFixed(4)}, is ${f.toFixed(4)}`));
        dot.addEventListener("mouseenter", () => { slider.value = bin; tell(); });
        svg.append(dot);
        const width = SIZE / count / (shown.length + 1), height = STRIP * Math.sqrt(n / total);
        svg.append(element("rect", { x: x(bin / count) + (index + 0.5) * width, y: floor - height, width, height, fill: colour }));
      });
    });
    tell();
  }
  function tell() {
    const bin = Number(slider.value), count = Number(slider.max) + 1;
    const head = `<caption>From ${(bin / count).toFixed(3)} to ${((bin + 1) / count).toFixed(3)}</caption>`
      + "<thead><tr><th scope=col>Shown</th><th scope=col>Method</th><th scope=col>Voxels</th><th scope=col>Says</th><th scope=col>Is</th></tr></thead>";
    const body = document.createElement("tbody");
    for (const [method, bins] of rows()) {
      const [n, p, f] = bins[bin];
      const line = body.insertRow();
      const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: !hidden.has(method), ariaLabel: `draw ${method}` });
      box.addEventListener("change", () => { hidden[box.checked ? "delete" : "add"](method); draw(); });
      line.insertCell().append(box);
      const name = line.insertCell();
      const mark = document.createElement("span");
      mark.className = "swatch";
      mark.style.background = facts.colours[method];
      name.append(mark, method);
      for (const text of n ? [n.toLocaleString("en"), p.toFixed(4), f.toFixed(4)] : ["0", "", ""]) line.insertCell().textContent = text;
    }
    table.innerHTML = head;
    table.append(body);
  }
  slider.addEventListener("input", tell);
  function keep() {
    const methods = (name) => Object.values(facts.bins[name]).flatMap((part) => Object.keys(part.methods));
    const names = Object.keys(facts.bins).filter((name) => methods(name).some((method) => !gone(`${method}\t${name}`)));
    chart.hidden = !names.length;
    if (chart.hidden) return;
    fill(choices.data, names.map((name) => [name, name]));
    refresh("data");
  }
  keep();
  document.addEventListener("kept", keep);
}
